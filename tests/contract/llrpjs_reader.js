// A reader made of npm's llrpjs (MIT), for test_rfid_llrp_foreign.py: prints its port, answers, sends reports.
const { LLRPCore, LLRPServer } = require("llrpjs");

const reader = new LLRPServer({ host: "127.0.0.1", port: 0 });
const ok = { LLRPStatus: { StatusCode: "M_Success", ErrorDescription: "" } };

function answer(name, data) {
  reader.on(name, (msg) => {
    const type = `${name}_RESPONSE`;
    reader.send(new LLRPCore[type]({ id: msg.id, data: { ...ok, ...data } })).catch(() => {});
  });
}

answer("GET_READER_CAPABILITIES", {
  GeneralDeviceCapabilities: {
    MaxNumberOfAntennaSupported: 2, CanSetAntennaProperties: 0, HasUTCClockCapability: 1,
    DeviceManufacturerName: 161, ModelName: 96, ReaderFirmwareVersion: "3.21.23",
    ReceiveSensitivityTableEntry: { Index: 1, ReceiveSensitivityValue: 0 },
    GPIOCapabilities: { NumGPIs: 0, NumGPOs: 0 },
    PerAntennaAirProtocol: { AntennaID: 1, ProtocolID: ["EPCGlobalClass1Gen2"] },
  },
});
reader.on("GET_READER_CONFIG", (msg) => {
  const data = { ...ok, Identification: { IDType: "MAC_Address", ReaderID: [0x84, 0x24, 0x8d, 0xee, 0, 1] },
    AntennaProperties: [{ AntennaConnected: 1, AntennaID: 1, AntennaGain: 0 },
                        { AntennaConnected: 0, AntennaID: 2, AntennaGain: 0 }] };
  reader.send(new LLRPCore.GET_READER_CONFIG_RESPONSE({ id: msg.id, data })).catch(() => {});
});
for (const name of ["SET_READER_CONFIG", "DELETE_ROSPEC", "ADD_ROSPEC", "ENABLE_ROSPEC"]) answer(name, {});

function tag(n) {
  const epc = n % 2
    ? { EPC_96: { EPC: Array.from({ length: 12 }, (_, i) => (n + i) % 256) } }
    : { EPCData: { EPC: Array.from({ length: 16 }, (_, i) => (n + i) % 256) } };
  return { ...epc, AntennaID: { AntennaID: 1 + (n % 2) }, PeakRSSI: { PeakRSSI: -40 - n },
    FirstSeenTimestampUTC: { Microseconds: new Date() }, LastSeenTimestampUTC: { Microseconds: new Date() },
    TagSeenCount: { TagCount: n } };
}

reader.on("START_ROSPEC", async (msg) => {
  await reader.send(new LLRPCore.START_ROSPEC_RESPONSE({ id: msg.id, data: ok }));
  const timer = setInterval(() => {
    const data = { TagReportData: [1, 2, 3, 4].map(tag) };
    reader.send(new LLRPCore.RO_ACCESS_REPORT({ data })).catch(() => clearInterval(timer));
  }, 100);
  setInterval(() => reader.send(new LLRPCore.KEEPALIVE()).catch(() => {}), 300);
});
reader.on("KEEPALIVE_ACK", () => console.log("ack"));
reader.on("CLOSE_CONNECTION", (msg) => {
  reader.send(new LLRPCore.CLOSE_CONNECTION_RESPONSE({ id: msg.id, data: ok })).catch(() => {});
});
reader.on("connection", () => {
  const data = { ReaderEventNotificationData: { UTCTimestamp: { Microseconds: new Date() },
    ConnectionAttemptEvent: { Status: "Success" } } };
  reader.send(new LLRPCore.READER_EVENT_NOTIFICATION({ data })).catch(() => {});
});
reader.on("error", (err) => console.error(String(err)));
reader._server.on("listening", () => console.log(`port ${reader._server.address().port}`));
reader.listen();
process.stdin.on("end", () => process.exit(0)).resume(); // goes with the test that started it
