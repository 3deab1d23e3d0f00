// The door sensor's installation: heat view (nothing is kept), and the score of the walk test.
"use strict";
{
  const heat = document.querySelector("#heat"), id = document.querySelector("#door").dataset.id;
  const canvas = heat.querySelector("canvas"), button = heat.querySelector("button"), readout = heat.querySelector(".readout");
  let source = null;
  // Dark blue over violet and orange to white: rising lightness, so it reads without colour vision too.
  const STOPS = [[8, 18, 58], [66, 28, 110], [150, 44, 96], [222, 96, 52], [250, 178, 66], [255, 250, 224]];
  const colour = (share) => {
    const at = Math.min(0.9999, Math.max(0, share)) * (STOPS.length - 1), low = Math.floor(at), part = at - low;
    return STOPS[low].map((value, channel) => value + part * (STOPS[low + 1][channel] - value));
  };
  function draw(view) {
    const millimetres = view.unit === "mm", span = Math.max(view.high - view.low, millimetres ? 600 : 300);
    if (canvas.width !== view.cols || canvas.height !== view.rows) { canvas.width = view.cols; canvas.height = view.rows; }
    const pen = canvas.getContext("2d"), image = pen.createImageData(view.cols, view.rows);
    view.pixels.forEach((value, index) => {
      // Nearer is a smaller distance: a body is bright on both kinds of sensor.
      const share = value === null ? 0 : millimetres ? (view.high - value) / span : (value - view.low) / span;
      image.data.set(value === null ? [128, 128, 128, 255] : [...colour(share), 255], index * 4);
    });
    pen.putImageData(image, 0, 0);
    const show = (value) => (value === null ? "–" : millimetres ? `${(value / 1000).toFixed(2)} m` : `${(value / 100).toFixed(1)} °C`);
    readout.textContent = heat.dataset.range.replace("{low}", show(view.low)).replace("{high}", show(view.high)).replace("{dead}", view.pixels.filter((value) => value === null).length);
  }
  function stop() { source?.close(); source = null; button.textContent = heat.dataset.on; }
  button.addEventListener("click", () => {
    if (source) { stop(); return; }
    button.textContent = heat.dataset.off;
    source = new EventSource(`/v1/doors/${id}/heat/live`);
    source.addEventListener("heat", (event) => draw(JSON.parse(event.data)));
    source.addEventListener("fault", (event) => { stop(); const fault = JSON.parse(event.data); readout.textContent = [fault.detail, fault.hint].join(" — "); });
    source.addEventListener("error", () => { if (source && source.readyState === EventSource.CLOSED) stop(); });
  });
  addEventListener("pagehide", stop);
  const test = document.querySelector("#walktest");
  test.addEventListener("done", (event) => {
    const result = event.detail;
    test.querySelector(".answer").textContent = `${result.passed ? "✓ " + test.dataset.passed : "✗ " + test.dataset.failed} ${test.dataset.result.replace("{score}", Math.round(result.score * 100)).replace("{right}", result.right).replace("{missed}", result.missed).replace("{false}", result.false)}`;
  });
}
