"use strict";
// Adds to the tables of the page what needs a script: sorting by a column, and a field that filters the rows.
// Without it the tables are complete as they stand.

const FEWEST_TO_SORT = 4;
const FEWEST_TO_FILTER = 9;
const NEXT_ORDER = { none: "ascending", ascending: "descending", descending: "none" };
const WITHOUT_VALUE = new Set(["", "–", "failed"]);

function rowsOf(body) {
  return [...body.querySelectorAll("tr:not(.label)")];
}

// What a cell is sorted by: the exact number of a numeric column, else the text; null where there is none.
function keyOf(cell, isText) {
  if (!isText) {
    return "v" in cell.dataset ? Number(cell.dataset.v) : null;
  }
  const text = cell.textContent.trim();
  return WITHOUT_VALUE.has(text) ? null : text;
}

function compare(one, other) {
  return typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true });
}

// Rows without a value come last, whatever the order; equal ones stay as they were given.
function sorted(rows, column, isText, order) {
  if (order === "none") {
    return rows;
  }
  const keyed = rows.map((row) => ({ row, key: keyOf(row.cells[column], isText) }));
  const known = keyed.filter((one) => one.key !== null);
  const unknown = keyed.filter((one) => one.key === null);
  const sign = order === "ascending" ? 1 : -1;
  known.sort((one, other) => sign * compare(one.key, other.key));
  return [...known, ...unknown].map((one) => one.row);
}

// Groups stay together: the rows of a <tbody> are sorted within it. A third click gives the order of the page back.
function addSorting(table) {
  const heads = [...table.tHead.rows[0].cells];
  const given = [...table.tBodies].map((body) => [body, rowsOf(body)]);
  for (const [column, head] of heads.entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.setAttribute("aria-label", `sort by ${head.firstChild.textContent.trim()}`);
    head.append(button);
    head.classList.add("sorts");
    head.addEventListener("click", (event) => {
      if (event.target.closest("a")) {
        return;
      }
      const order = NEXT_ORDER[head.getAttribute("aria-sort") ?? "none"];
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      if (order !== "none") {
        head.setAttribute("aria-sort", order);
      }
      given.forEach(([body, rows]) => body.append(...sorted(rows, column, head.classList.contains("t"), order)));
    });
  }
}

// Shows the rows that have any of the words, and always the references.
function filter(table, rows, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (row) => words.length === 0 || words.some((word) => row.textContent.toLowerCase().includes(word));
  rows.forEach((row) => (row.hidden = !fits(row)));
  for (const label of table.querySelectorAll("tr.label")) {
    label.hidden = rowsOf(label.parentNode).every((row) => row.hidden);
  }
  const left = rows.filter((row) => !row.hidden).length;
  return words.length ? `${left} of ${rows.length} rows` : "";
}

function addFilter(table, all) {
  const rows = all.filter((row) => !("reference" in row.dataset));
  const field = document.createElement("input");
  field.type = "search";
  const label = document.createElement("label");
  label.append("filter rows ", field);
  const count = document.createElement("span");
  count.setAttribute("role", "status");
  field.addEventListener("input", () => (count.textContent = filter(table, rows, field.value)));
  const line = document.createElement("p");
  line.className = "filter";
  line.append(label, " ", count);
  table.parentNode.before(line);
}

for (const table of document.querySelectorAll("table")) {
  const rows = [...table.tBodies].flatMap(rowsOf);
  if (rows.length >= FEWEST_TO_SORT) {
    addSorting(table);
  }
  if (rows.length >= FEWEST_TO_FILTER) {
    addFilter(table, rows);
  }
}
