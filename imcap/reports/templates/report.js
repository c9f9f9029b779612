"use strict";
(() => {
  const bar = document.getElementById("bar");
  const list = document.getElementById("cards");
  const order = document.getElementById("order");
  const filter = document.getElementById("filter");
  const shown = document.getElementById("shown");
  const buttons = [...bar.querySelectorAll("[data-sort]")];
  const byId = new Intl.Collator("en", { numeric: true });
  const cards = [...list.querySelectorAll("article")].map((element) => ({
    element,
    id: element.dataset.id,
    values: JSON.parse(element.dataset.values),
    words: [...element.querySelectorAll(".id, .caption, li")]
      .map((part) => part.textContent).join(" ").toLowerCase(),
  }));
  let key = bar.dataset.firstSort;
  let reversed = false;

  function compare(a, b) {
    const ids = byId.compare(a.id, b.id);
    if (key === "id") return reversed ? -ids : ids;
    const [x, y] = [a.values[key], b.values[key]];
    // An image without this score comes last in either order.
    if (x === null || y === null) return (x === null) - (y === null) || ids;
    return (reversed ? x - y : y - x) || ids;
  }

  function sort() {
    cards.sort(compare);
    list.append(...cards.map((card) => card.element));
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.sort === key));
    }
    const pressed = buttons.find((button) => button.dataset.sort === key);
    order.textContent = reversed ? pressed.dataset.reversed : pressed.dataset.order;
    if (list.getBoundingClientRect().top < 0) list.scrollIntoView(); // otherwise the first card is out of view
  }

  function show() {
    const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const card of cards) {
      const matches = wanted.every((word) => card.words.includes(word));
      card.element.hidden = !matches;
      count += matches;
    }
    const all = cards.length.toLocaleString("en");
    shown.textContent = wanted.length ? `${count.toLocaleString("en")} of ${all} images` : `${all} images`;
  }

  // A second click on the same button reverses the order.
  for (const button of buttons) {
    button.addEventListener("click", () => {
      reversed = button.dataset.sort === key ? !reversed : false;
      key = button.dataset.sort;
      sort();
    });
  }
  order.addEventListener("click", () => { reversed = !reversed; sort(); });
  filter.addEventListener("input", show);
  sort();
  show(); // browsers keep the filter's text when a page is reloaded
  bar.hidden = false;
})();
