// Moves the player: a click on a point of a timeline, or on a button of its table.
(() => {
  // Times of a result are media time; the player's clock begins with the first stream, not with the first picture, and
  // keeps the gaps of the file's timestamps.
  const seek = (seconds) => {
    const player = document.getElementById("ws-player");
    if (!player || !Number.isFinite(seconds)) return;
    const zero = document.querySelector("#ws-summary [data-zero]") ?? player;
    const jumps = JSON.parse(zero.dataset.jumps ?? "[]").filter(([at]) => at <= seconds);
    player.currentTime = jumps.reduce((time, [, step]) => time + step, seconds + Number(zero.dataset.zero ?? 0));
    player.scrollIntoView({ block: "nearest", behavior: "smooth" });
    player.play().catch(() => {}); // a browser may want a gesture first: the position is set all the same
  };

  // The figure of sound and mouth beside a timeline follows it.
  const lookAt = (figure, seconds) => {
    const input = figure.closest(".ws-card")?.querySelector(".ws-second-at input");
    if (!input || !Number.isFinite(seconds)) return;
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(input, String(seconds + 1));
    for (const kind of ["input", "change", "blur"]) input.dispatchEvent(new Event(kind, { bubbles: true }));
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-seek]");
    if (button) seek(Number(button.dataset.seek));
  });

  // The part of a recording to analyse: two handles on a strip of pictures, and the same times as text.
  const toClock = (seconds) => {
    const tenths = Math.round(seconds * 10), whole = Math.floor(tenths / 10), two = (n) => String(n).padStart(2, "0");
    const text = `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
    return tenths % 10 ? `${text}.${tenths % 10}` : text;
  };
  const fromClock = (text) => /^\s*(\d+:){0,2}\d+([.,]\d+)?\s*$/.test(text)
    ? text.replace(",", ".").split(":").reduce((sum, one) => 60 * sum + Number(one), 0) : NaN;
  const findField = (edge) => document.querySelector(`#ws-part-${edge} input, #ws-part-${edge} textarea`);
  let isOwn = false; // an event of ours, which must not move the handles again
  const write = (field, text) => {
    if (!field || field.value === text) return;
    Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), "value").set.call(field, text);
    isOwn = true;
    for (const kind of ["input", "change", "blur"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
    isOwn = false;
  };
  const drawStrip = (strip) => {
    const [from, to] = strip.querySelectorAll("[data-edge]"), most = Number(from.max);
    strip.style.setProperty("--from", `${(100 * from.value) / most}%`);
    strip.style.setProperty("--to", `${(100 * to.value) / most}%`);
    for (const handle of [from, to]) handle.setAttribute("aria-valuetext", toClock(Number(handle.value)));
    from.style.zIndex = Number(from.value) > most / 2 ? 2 : 1; // both at the end: the first can still be taken back
    strip.querySelector("output").textContent = `${toClock(Number(from.value))} – ${toClock(Number(to.value))}`;
  };
  const keepApart = (handle, strip) => {
    const [from, to] = strip.querySelectorAll("[data-edge]"), least = Math.min(1, Number(from.max));
    if (handle === from) from.value = Math.min(Number(from.value), Number(to.value) - least);
    else to.value = Math.max(Number(to.value), Number(from.value) + least);
  };

  document.addEventListener("input", (event) => {
    const handle = event.target.closest?.(".ws-strip [data-edge]");
    if (handle) {
      const strip = handle.closest(".ws-strip");
      keepApart(handle, strip);
      drawStrip(strip);
      for (const one of strip.querySelectorAll("[data-edge]")) write(findField(one.dataset.edge), toClock(Number(one.value)));
      return;
    }
    const field = event.target.closest?.("#ws-part-from, #ws-part-to"), strip = document.querySelector(".ws-strip");
    if (!field || !strip || isOwn || !Number.isFinite(fromClock(event.target.value))) return;
    strip.querySelector(`[data-edge=${field.id.slice("ws-part-".length)}]`).value = fromClock(event.target.value);
    drawStrip(strip);
  });

  // A handle that was moved shows its moment in the player.
  document.addEventListener("change", (event) => {
    const handle = event.target.closest?.(".ws-strip [data-edge]"), player = document.getElementById("ws-player");
    if (handle && player) player.currentTime = Number(handle.value) + Number(handle.closest(".ws-strip").dataset.zero);
  });

  document.addEventListener("error", (event) => {
    if (event.target.id !== "ws-player") return;
    event.target.parentElement.querySelector(".ws-unplayable").hidden = false;
  }, true);

  // Figures come and go with each analysis; each is a plain plotly element once drawn.
  const wire = () => {
    for (const figure of document.querySelectorAll(".ws-timeline .js-plotly-plot")) {
      if (figure.dataset.wired || !figure.on) continue;
      figure.dataset.wired = "yes";
      figure.on("plotly_click", (event) => {
        const seconds = Number(event.points[0]?.customdata?.[0]);
        seek(seconds);
        lookAt(figure, seconds);
      });
    }
  };
  // The job on show stands in the address, so that a reload, or a link sent to a colleague, finds it.
  const keepAddress = () => {
    const job = document.querySelector("#ws-summary [data-job]")?.dataset.job;
    const here = new URL(location.href);
    if (!job || here.searchParams.get("job") === job) return;
    here.searchParams.set("job", job);
    history.replaceState(history.state, "", here);
  };

  new MutationObserver(() => { wire(); keepAddress(); }).observe(document.documentElement, { childList: true, subtree: true });
})();
