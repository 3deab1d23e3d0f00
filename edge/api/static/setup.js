// Set-up: the window of time in which devices join, and what a device measures now.
"use strict";
{
  const join = $("#join"), add = $("#add");
  if (join) {
    const form = $("form", join), pane = $(".window", join), list = $(".found", join), answer = $(".answer", join), free = JSON.parse(join.dataset.free);
    const known = new Set();
    let job = join.dataset.job, whole = 0;

    function row(found) {
      const item = document.createElement("li"), text = document.createElement("div"), name = document.createElement("strong"), small = document.createElement("small");
      item.className = "stack" + (known.has(found.moniker) ? "" : " fresh");
      known.add(found.moniker);
      name.textContent = found.title || found.moniker;
      small.textContent = [found.moniker, found.position ? join.dataset.has.replace("#", found.position) : "", found.note].filter(Boolean).join(" · ");
      text.append(name, small);
      item.append(text);
      if (found.position) return item;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = join.dataset.use;
      button.addEventListener("click", () => {
        if (found.kind) add.elements.kind.value = found.kind;
        add.elements.link.value = found.moniker;
        suggest();
        add.elements.id.focus();
        add.elements.id.select();
      });
      item.append(button);
      return item;
    }

    function show(now) {
      const open = now.state === "running", left = now.result?.left_s ?? 0, rows = now.result?.found ?? now.result ?? [];
      form.hidden = open;
      pane.hidden = !open;
      whole = Math.max(whole, left);
      $(".left", pane).textContent = left ? join.dataset.left.replace("#", left) : "";
      $(".step", pane).textContent = now.step;
      $(".sweep", pane).style.strokeDashoffset = whole ? 100 * (1 - left / whole) : 0;
      if (Array.isArray(rows)) list.replaceChildren(...rows.map(row));
      if (open) return;
      whole = 0;
      answer.classList.toggle("good", now.state === "done" && known.size > 0);
      answer.textContent = now.error ? telling(now.error) : known.size ? join.dataset.found.replace("#", known.size) : join.dataset.none;
    }

    function watch() {
      const source = new EventSource(`/v1/jobs/${job}/live`);
      source.addEventListener("job", (event) => {
        const now = JSON.parse(event.data);
        show(now);
        if (now.state !== "running") source.close();
      });
    }

    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      answer.textContent = "";
      const [path, body] = valuesOf(form, "/v1/discovery");
      const [ok, result] = await call("POST", path, body);
      if (!ok) { answer.textContent = telling(result); return; }
      known.clear();
      list.replaceChildren();
      job = result.id;
      watch();
    });
    $(".stop", pane).addEventListener("click", () => call("DELETE", `/v1/jobs/${job}`));
    if (job) watch(); // begun on another page, or before this one was left

    function suggest() { if (!add.elements.id.value || Object.values(free).includes(add.elements.id.value)) add.elements.id.value = free[add.elements.kind.value] || ""; }
    add.elements.kind.addEventListener("change", suggest);
    suggest();
  }

  const live = $("#live");
  if (live) {
    const meters = $(".meters", live), line = $("polyline", live), readout = $(".readout", live), past = [];
    let last = null;
    function meter(name, value, fault) {
      const item = document.createElement("p"), label = document.createElement("span"), number = document.createElement("b");
      label.textContent = name;
      number.textContent = value;
      if (fault) item.className = "fault";
      item.append(label, number);
      return item;
    }
    const source = new EventSource(`/v1/devices/${live.dataset.device}/readings/live`);
    source.addEventListener("readings", (event) => {
      const now = JSON.parse(event.data), at = event.timeStamp;
      const rows = now.lanes.map((lane) => meter(lane.lane, lane.level_g === null ? "–" : `${Math.round(lane.level_g) || 0} g`));
      rows.push(...now.cells.filter((cell) => !now.lanes.length || cell.fault).map((cell) => meter(live.dataset.cell.replace("#", cell.cell + 1), cell.fault || `${cell.rate_hz.toFixed(0)} Hz`, cell.fault)));
      let value = now.lanes.reduce((sum, lane) => sum + (lane.level_g || 0), 0);
      if (!now.lanes.length && now.counted) {
        const rate = last && at > last[0] ? Math.max(0, (now.total - last[1]) / ((at - last[0]) / 1000)) : 0;
        if (!last || at - last[0] > 900) { last = [at, now.total]; past.push(rate); }
        rows.push(meter(now.counted.replace(/_/g, " "), `${(past.at(-1) || 0).toFixed(0)} /s`));
      } else past.push(value);
      meters.replaceChildren(...rows);
      while (past.length > 120) past.shift();
      const low = Math.min(...past), span = Math.max(...past) - low || 1;
      line.setAttribute("points", past.map((one, index) => `${(index * 240 / Math.max(1, past.length - 1)).toFixed(1)},${(56 - 52 * (one - low) / span).toFixed(1)}`).join(" "));
      readout.textContent = past.length > 3 && now.lanes.length ? `${low.toFixed(0)} – ${(low + span).toFixed(0)} g` : "";
    });
    addEventListener("pagehide", () => source.close());
  }
}
