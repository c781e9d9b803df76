for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const value = (row, i) => row.cells[i].textContent.trim().replace(/\s/g, "");
  heads.forEach((head, i) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.classList.contains("n") ? head.getAttribute("aria-sort") !== "descending" : head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [x, y] = [value(a, i), value(b, i)];
        const [p, q] = [parseFloat(x), parseFloat(y)];
        if (head.classList.contains("n")) {
          if (isNaN(p) || isNaN(q)) return isNaN(p) - isNaN(q);
          return down ? q - p : p - q;
        }
        return down ? y.localeCompare(x) : x.localeCompare(y);
      });
      table.tBodies[0].append(...rows);
    });
  });
}
