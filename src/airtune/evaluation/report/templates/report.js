// The filters are CSS; this only says how many samples a filter leaves, for those who cannot see it,
// and keeps the chosen filter in the address, so that it can be sent to someone.
(() => {
  "use strict";
  const radios = Array.from(document.querySelectorAll('input[name="show"]'));
  const status = document.getElementById("shown");
  const cards = Array.from(document.querySelectorAll(".card"));
  const tell = () => {
    const chosen = radios.find((radio) => radio.checked);
    if (!chosen || !status) { return; }
    const visible = cards.filter((card) => chosen.value === "all" || card.classList.contains(chosen.value)).length;
    status.textContent = visible + (visible === 1 ? " sample is" : " samples are") + " shown.";
  };
  const wanted = radios.find((radio) => "#show-" + radio.value === location.hash);
  if (wanted) { wanted.checked = true; }
  radios.forEach((radio) => radio.addEventListener("change", () => {
    try { history.replaceState(null, "", "#show-" + radio.value); } catch (error) { /* a sandboxed frame */ }
    tell();
  }));
  tell();
})();
