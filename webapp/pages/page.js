// Moves the player: a click on a point of a timeline, or on a button of its table.
(() => {
  // Times of a result are media time; the player's clock begins with the first stream, not with the first picture.
  const seek = (seconds) => {
    const player = document.getElementById("ws-player");
    if (!player || !Number.isFinite(seconds)) return;
    const zero = document.querySelector("#ws-summary [data-zero]") ?? player;
    player.currentTime = seconds + Number(zero.dataset.zero ?? 0);
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
