// All words of the page. A language that is missing here is shown in English.
export const WORDS = {
  en: {
    title: "Offers here", now: "Right now at this shelf", kept: "Kept for the till", find: "Is it here?",
    ask: "Your own codes, without your name", askText: "Say yes, and each offer below gets a code that the till takes once.",
    consent: "Yes, give me codes", withdraw: "Withdraw consent and erase", code: "Number under the barcode, or its link",
    look: "Look", scan: "Scan with the camera", stop: "Stop the camera", here: (n) => `${n} in stock here`, gone: "None left here",
    none: "No offers here right now. What you look for may still be on the shelf.", unknown: "This is not sold here.",
    wrong: "This is not a barcode number: 8, 12, 13 or 14 digits.", busy: "Too many questions at once. Wait a few seconds.",
    offline: "No connection. What you kept still works at the till.", until: (t) => `Valid until ${t}`, midnight: "midnight", before: (v) => `instead of ${v}`,
    show: "Show this code at the till. It works once.", get: "Show the code", online: "Buy online", off: (v) => `${v} off`,
    used: "Used at a till", typed: "The code as text", close: "Close", place: (p) => `Find it in: ${p}`,
    cap: "You have had this offer today.", later: "Not for you right now.", hosted: "For your own code, join the store's Wi-Fi and scan the shelf again.",
    notice: "We keep a random number that is new each day, never your name, phone or account. Nothing goes to third parties. You may withdraw at any time; everything that links to you is then erased at once (GDPR Art. 6(1)(a); APPI; Telecommunications Business Act, external transmission).",
  },
  ja: {
    title: "この売り場のお得情報", now: "いま、この棚のお得情報", kept: "レジで使うクーポン", find: "在庫をしらべる",
    ask: "お名前なしで、あなた専用のコード", askText: "同意いただくと、レジで一度だけ使えるコードを各クーポンにお付けします。",
    consent: "同意してコードを受け取る", withdraw: "同意を取り消して消去する", code: "バーコードの数字またはリンク",
    look: "しらべる", scan: "カメラで読み取る", stop: "カメラを止める", here: (n) => `店内在庫 ${n} 点`, gone: "店内在庫なし",
    none: "現在、この売り場のお得情報はありません。", unknown: "当店では取り扱っておりません。",
    wrong: "バーコードの数字ではありません(8・12・13・14 桁)。", busy: "アクセスが集中しています。数秒お待ちください。",
    offline: "オフラインです。保存済みのコードはレジでそのまま使えます。", until: (t) => `有効期限 ${t}`, midnight: "本日 24:00", before: (v) => `通常 ${v}`,
    show: "このコードをレジでお見せください。一度だけ使えます。", get: "コードを表示", online: "オンラインで購入", off: (v) => `${v} 引き`,
    used: "使用済み", typed: "文字のコード", close: "閉じる", place: (p) => `売り場:${p}`,
    cap: "本日分は受け取り済みです。", later: "現在は対象外です。", hosted: "専用コードは、店内 Wi-Fi に接続して棚のコードをもう一度読み取ってください。",
    notice: "毎日変わる乱数のみを保存し、氏名・端末・アカウントは保存しません。第三者への送信はありません。同意はいつでも取り消せ、ひも付く情報は直ちに消去されます(個人情報保護法、電気通信事業法の外部送信規律、GDPR 第6条1項(a))。",
  },
};
