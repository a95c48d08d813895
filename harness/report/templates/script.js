"use strict";
// Sorts tables, and chooses between light and dark. The page is whole without it.
(() => {
  // ---- tables: a click, Enter or Space on a heading sorts; once more, the other way round ------
  const value = (row, index) => {
    const cell = row.cells[index];
    if (cell.hasAttribute("data-unknown")) return null;
    const given = cell.getAttribute("data-value");
    if (given !== null) return Number(given);
    const text = cell.textContent.trim();
    return text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return a.localeCompare(b, undefined, { numeric: true });
  };
  const sort = (table, index, direction) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [value(row, index), row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // unknown: always last
      return direction * compare(a, b);
    });
    body.append(...rows.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const descending = head.getAttribute("aria-sort") === "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        sort(table, index, descending ? -1 : 1);
      });
    });
  }

  // ---- theme: as the system has it, or light, or dark ------------------------------------------
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  const remembered = () => {
    try { return localStorage.getItem("harness-theme"); } catch { return null; }
  };
  const choose = (theme) => {
    root.dataset.theme = theme;
    button.textContent = theme[0].toUpperCase() + theme.slice(1);
    button.setAttribute("aria-label", `Colours: ${theme}`);
    try { localStorage.setItem("harness-theme", theme); } catch { /* a page without memory */ }
  };
  button.addEventListener("click", () => {
    choose(themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length]);
  });
  const before = remembered();
  choose(themes.includes(before) ? before : "auto");
  button.hidden = false;

  // ---- print: what is folded is not lost -------------------------------------------------------
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open]):not(.screen)")];
    for (const one of folded) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of folded) one.open = false;
  });
})();
