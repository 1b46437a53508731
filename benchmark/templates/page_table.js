// A table that is sorted and filtered, that shows the columns one chooses, and that says what each
// of them means.

// Puts null last, and text after numbers, in both directions.
function order(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return sign * (typeof a === "number" ? a - b : compared(a, b));
}

// id: begins the keys of its state. title, caption: one line each. searched, filters: see
// rowFilters. opened: what an open row shows, if rows open.
// columns: {title, main, name, above, wide, text, value(row), fill(row)}. Main ones are always
// shown and stay while the others are scrolled; name heads the row; above stands above the name on
// a phone; wide ones are shown at first where there is room; text ones are no numbers. value is
// sorted, and fill gives what the cell shows.
// Returns the elements, and refresh, which shows what the state says.
function dataTable({ id, title, caption, columns, rows, searched, filters = [], opened }) {
  const ordered = [...columns.filter(one => one.main), ...columns.filter(one => !one.main)];
  const others = ordered.filter(one => !one.main);
  const chosen = new Set(others.filter(one => one.wide && !NARROW.matches));
  const shown = () => ordered.filter(one => one.main || chosen.has(one));
  const sorting = sortState(id, () => drawRows());
  const filter = rowFilters({ id, title, rows, searched, filters, changed: () => drawRows() });
  const head = make("tr"), body = make("tbody");
  const status = make("p", { role: "status", class: "count" });
  const table = make("table", {}, make("caption", {}, make("span", {}, caption)),
    make("thead", {}, head), body);
  new ResizeObserver(() => stick(table, head)).observe(table);

  function drawHead() {
    head.replaceChildren(...shown().map((column, place) => {
      const button = make("button", { type: "button" }, column.title);
      button.addEventListener("click", () => sorting.press(column.title));
      const sentence = measures[column.title];
      if (sentence) explained(button, sentence, `${id}-${ordered.indexOf(column)}`);
      const cell = make("th", { scope: "col", class: classes(column, place) }, button);
      cell.dataset.title = column.title;
      return cell;
    }));
  }

  function drawRows() {
    for (const cell of head.children)
      cell.setAttribute("aria-sort", sorting.direction(cell.dataset.title));
    const found = sorting.sorted(rows.filter(filter.matches), ordered);
    status.textContent = `${found.length} of ${rows.length} rows`;
    body.replaceChildren(...found.map(row => line(row, shown(), opened)));
    stick(table, head);
  }

  function redraw() {
    drawHead();
    drawRows();
  }

  function refresh() {
    filter.refresh();
    redraw();
  }

  const menus = [...filter.menus, ...others.length ? [columnMenu(others, chosen, redraw)] : []];
  const tools = make("div", { class: "tools" }, filter.form, ...menus, status, filter.clear);
  const region = make("div", { class: "scroll", role: "region", "aria-label": `Table: ${title}`,
    tabindex: "0" }, table);
  return { refresh, elements: [tools, region, meanings(id, ordered)] };
}

// The column by which a table is sorted. Pressing its heading sorts up, then down, then not at all,
// which is the order of the board.
function sortState(id, changed) {
  const [sortKey, downKey] = [`${id}.sort`, `${id}.down`];
  const sign = () => state.get(downKey) ? -1 : 1;
  return {
    press(title) {
      const isSorted = state.get(sortKey) === title, isDown = sign() < 0;
      keep(sortKey, isSorted && isDown ? "" : title);
      keep(downKey, isSorted && !isDown ? "1" : "");
      changed();
    },
    direction(title) {
      if (state.get(sortKey) !== title) return "none";
      return sign() < 0 ? "descending" : "ascending";
    },
    sorted(rows, columns) {
      const column = columns.find(one => one.title === state.get(sortKey));
      return column ? rows.sort((a, b) => order(column.value(a), column.value(b), sign())) : rows;
    }
  };
}

function classes(column, place) {
  return [column.text ? "text" : "number", ...column.main ? ["main", `main${place}`] : [],
    ...["name", "above"].filter(key => column[key])].join(" ");
}

function line(row, columns, opened) {
  const above = columns.find(one => one.above);
  const cells = columns.map((column, place) => {
    const attributes = { class: classes(column, place) };
    if (!column.name) return make("td", attributes, ...column.fill(row));
    const cell = make("th", { ...attributes, scope: "row" }, ...column.fill(row));
    if (above) cell.dataset.above = above.value(row);
    return cell;
  });
  const element = make("tr", {}, ...cells);
  if (opened) {
    const build = () => make("tr", { class: "open" },
      make("td", { colspan: cells.length }, opened(row)));
    openable(element, cells.find(cell => cell.tagName === "TH"), build);
  }
  return element;
}

// Opens and closes a row below another by a button around what the cell holds.
function openable(element, cell, build) {
  const button = make("button", { type: "button", "aria-expanded": "false" }, ...cell.childNodes);
  cell.append(button);
  button.addEventListener("click", () => {
    const isOpen = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) element.nextSibling.remove();
    else element.after(build());
  });
}

// The main columns stand side by side at the left, so each is told the width of those before it.
function stick(table, head) {
  let left = 0;
  [...head.children].filter(cell => cell.classList.contains("main")).forEach((cell, place) => {
    table.style.setProperty(`--left${place}`, `${left}px`);
    left += cell.getBoundingClientRect().width;
  });
}

// The list of what the columns mean, which also describes the headings to a screen reader.
function meanings(id, columns) {
  const list = make("dl");
  columns.forEach(({ title }, place) => {
    if (measures[title])
      list.append(make("dt", {}, title), make("dd", { id: `${id}-${place}` }, measures[title]));
  });
  return make("section", { class: "meanings" }, make("h3", {}, "What the columns mean"), list);
}
