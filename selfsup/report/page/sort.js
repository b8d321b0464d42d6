// Makes the headings of a table sort its rows by their cells' data-value; what has none comes last in falling order. Returns the sorting.
function sortable(table, first) {
  const body = table.tBodies[0], rows = [...body.rows], heads = [...table.tHead.rows[0].cells];
  function sort(column, direction) {
    const value = (row) => row.cells[column].dataset.value, number = (text) => (text === "" ? -Infinity : Number(text));
    const numeric = rows.every((row) => value(row) === "" || !Number.isNaN(Number(value(row))));
    rows.sort((a, b) => direction * (numeric ? number(value(a)) - number(value(b)) : value(a).localeCompare(value(b))) || 0);
    body.append(...rows);
    heads.forEach((head, i) => (i === column ? head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending") : head.removeAttribute("aria-sort")));
  }
  heads.forEach((head, i) => {
    const button = head.querySelector("button"), turned = { ascending: -1, descending: 1 };
    if (button) button.addEventListener("click", () => sort(i, turned[head.getAttribute("aria-sort")] || first(i)));
  });
  return sort;
}
