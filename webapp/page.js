// Moves the player: a click on a point of a timeline, or on a button of its table.
(() => {
  const seek = (seconds) => {
    const player = document.getElementById("ws-player");
    if (!player || !Number.isFinite(seconds)) return;
    player.currentTime = seconds;
    player.scrollIntoView({ block: "nearest", behavior: "smooth" });
    player.play().catch(() => {}); // a browser may want a gesture first: the position is set all the same
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
      figure.on("plotly_click", (event) => seek(Number(event.points[0]?.customdata?.[0])));
    }
  };
  new MutationObserver(wire).observe(document.documentElement, { childList: true, subtree: true });
})();
