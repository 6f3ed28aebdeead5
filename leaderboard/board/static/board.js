// What the pages can do without: filters, sorting, turning pages, copying. The rows are in the page already.
"use strict";

const PAGE = 100; // rows shown at a time

function board(root) {
  const table = root.querySelector("table");
  const body = table.tBodies[0];
  const form = root.querySelector("[data-filters]");
  const told = root.querySelector("[data-told]");
  const turn = root.querySelector("[data-turn]");
  const rest = root.querySelector("template");
  const rows = [...body.rows, ...(rest ? rest.content.querySelectorAll("tr") : [])].map((element, place) => ({
    element, place, text: element.textContent.toLowerCase().replace(/\s+/g, " "), ...element.dataset,
  }));
  const heads = [...table.tHead.rows[0].cells];
  let sorted = null; // {column, direction}
  let page = 0;

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = head.dataset.first;
      const other = first === "ascending" ? "descending" : "ascending";
      const direction = sorted && sorted.column === column && sorted.direction === first ? other : first;
      sorted = { column, direction };
      page = 0;
      show();
    });
  });

  function value(row, column) {
    const text = row.element.cells[column].dataset.v ?? row.element.cells[column].textContent.trim();
    if (text === "") return null;
    const number = Number(text);
    return Number.isNaN(number) ? text : number;
  }

  function ordered(found) {
    if (!sorted) return found;
    const sign = sorted.direction === "ascending" ? 1 : -1;
    const keyed = found.map((row) => [value(row, sorted.column), row]);
    keyed.sort(([a, one], [b, other]) => {
      if (a === null || b === null) return (a === null) - (b === null) || one.place - other.place; // what is missing is last
      if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
      const by = typeof a === "number" ? a - b : a.localeCompare(b);
      return sign * by || one.place - other.place;
    });
    return keyed.map(([, row]) => row);
  }

  function fits(row, asked) {
    if (asked.q && !asked.q.toLowerCase().split(/\s+/).every((word) => row.text.includes(word))) return false;
    if (asked.family && row.family !== asked.family) return false;
    if (asked.parameters && !(row.parameters !== "" && Number(row.parameters) <= Number(asked.parameters))) return false;
    if (asked.bytes && !(row.bytes !== "" && Number(row.bytes) <= Number(asked.bytes))) return false;
    if (asked.seen === "known" && (row.seen === "some" || row.seen === "heavy")) return false;
    if (asked.seen === "none" && row.seen !== "none") return false;
    return !asked.level || row.level === asked.level;
  }

  function show() {
    const asked = Object.fromEntries([...new FormData(form)].filter(([, text]) => text !== ""));
    const found = ordered(rows.filter((row) => fits(row, asked)));
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.min(page, pages - 1);
    body.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map((row) => row.element));
    heads.forEach((head, column) => {
      if (sorted && sorted.column === column) head.setAttribute("aria-sort", sorted.direction);
      else head.removeAttribute("aria-sort");
    });
    told.textContent = found.length === rows.length
      ? `${rows.length.toLocaleString("en")} ${rows.length === 1 ? "row" : "rows"}`
      : `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
    turn.hidden = pages === 1;
    turn.querySelector("[data-page]").textContent = `page ${page + 1} of ${pages}`;
    turn.querySelector("[data-back]").disabled = page === 0;
    turn.querySelector("[data-next]").disabled = page === pages - 1;
    remember(asked);
  }

  // what is filtered stands in the address, so that it can be sent to somebody
  function remember(asked) {
    const said = new URLSearchParams(asked);
    if (sorted) said.set("sort", `${sorted.column}.${sorted.direction}`);
    const hash = said.toString();
    if (location.hash.slice(1) === hash) return;
    try { history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search); } catch { /* some browsers allow it to no file */ }
  }

  function recall() {
    const said = new URLSearchParams(location.hash.slice(1));
    for (const field of form.elements) {
      if (field.name && said.has(field.name)) field.value = said.get(field.name);
    }
    const [column, direction] = (said.get("sort") ?? "").split(".");
    if (heads[column] && (direction === "ascending" || direction === "descending")) sorted = { column: Number(column), direction };
  }

  form.addEventListener("input", () => { page = 0; show(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => { sorted = null; page = 0; setTimeout(show); });
  turn.querySelector("[data-back]").addEventListener("click", () => { page -= 1; show(); });
  turn.querySelector("[data-next]").addEventListener("click", () => { page += 1; show(); });
  window.addEventListener("hashchange", () => { recall(); show(); });
  form.hidden = false;
  recall();
  show();
}

document.querySelectorAll("[data-board]").forEach(board);

document.querySelectorAll("[data-copy]").forEach((button) => {
  if (!navigator.clipboard) return;
  button.hidden = false;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(button.parentElement.querySelector("[data-command]").textContent);
      button.textContent = "Copied";
    } catch { button.textContent = "Could not copy"; }
  });
});
