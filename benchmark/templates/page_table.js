// A table that is sorted and filtered, that shows the columns one chooses, and that says what each of them means.

// Sorts null last, then text after numbers, whatever the direction.
function order(a, b, sign) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return sign * (typeof a === "number" ? a - b : compared(a, b));
}

// id: begins the keys of its state. title, caption: one line each. searched: the text of a row that the filter looks into, and what
// it is called. filters: [key, title] of the settings that are chosen from a list. opened: what an open row shows.
// columns: {title, main, name, above, wide, text, value(row), fill(row)}: main ones always show and stay while the others are
// scrolled, name heads the row, above stands above the name on a phone, wide ones show at first where there is room, and
// text ones are no numbers. value is sorted, fill gives what the cell shows. Returns the elements, and refresh, which shows what the state says.
function dataTable({ id, title, caption, columns, rows, searched, filters = [], opened }) {
  const ordered = [...columns.filter(one => one.main), ...columns.filter(one => !one.main)];
  const above = ordered.find(one => one.above);
  const others = ordered.filter(one => !one.main);
  const chosen = new Set(others.filter(one => one.wide && !NARROW.matches));
  const [sortKey, downKey, findKey] = ["sort", "down", "find"].map(key => `${id}.${key}`);
  const head = make("tr"), body = make("tbody"), status = make("p", { role: "status", class: "count" });
  const table = make("table", {}, make("caption", {}, make("span", {}, caption)), make("thead", {}, head), body);
  const shown = () => ordered.filter(one => one.main || chosen.has(one));

  const search = make("input", { type: "search" });
  search.addEventListener("input", () => { keep(findKey, search.value); drawRows(); });
  const selects = filters.map(([key, label]) => {
    const values = unique(rows.map(row => row[key])).filter(value => value !== "").sort(compared);
    const select = make("select", {}, make("option", { value: "" }, "all"), ...values.map(value => make("option", { value }, value)));
    select.addEventListener("change", () => { keep(`${id}.${key}`, select.value); drawRows(); });
    return { key, label, select, values };
  }).filter(({ values }) => values.length > 1);
  const form = make("form", { "aria-label": `Search: ${title}` }, make("label", {}, searched.title, search));
  form.addEventListener("submit", event => event.preventDefault());
  const choices = make("details", { class: "menu" }, make("summary", {}, "Filters"),
    make("form", { "aria-label": `Filters: ${title}` }, ...selects.map(({ label, select }) => make("label", {}, label, select))));
  choices.open = !NARROW.matches;
  const clear = make("button", { type: "button" }, "Show all rows");
  clear.addEventListener("click", () => {
    for (const key of [findKey, ...selects.map(({ key }) => `${id}.${key}`)]) keep(key, "");
    refresh();
    search.focus();
  });

  function visible() {
    const find = search.value.toLowerCase(), sort = ordered.find(one => one.title === state.get(sortKey));
    const found = rows.filter(row => searched.text(row).toLowerCase().includes(find)
      && selects.every(({ key, select }) => !select.value || row[key] === select.value));
    const sign = state.get(downKey) ? -1 : 1;
    return sort ? found.sort((a, b) => order(sort.value(a), sort.value(b), sign)) : found;
  }

  // Up, down, and back to the order of the board.
  function sortBy(heading) {
    const isSorted = state.get(sortKey) === heading, isDown = Boolean(state.get(downKey));
    keep(sortKey, isSorted && isDown ? "" : heading);
    keep(downKey, isSorted && !isDown ? "1" : "");
    drawRows();
  }

  function classes(column, place) {
    return [column.text ? "text" : "number", ...column.main ? ["main", `main${place}`] : [],
      ...["name", "above"].filter(key => column[key])].join(" ");
  }

  function drawHead() {
    head.replaceChildren(...shown().map((column, place) => {
      const button = make("button", { type: "button" }, column.title);
      button.addEventListener("click", () => sortBy(column.title));
      if (measures[column.title]) explained(button, measures[column.title], `${id}-${ordered.indexOf(column)}`);
      const cell = make("th", { scope: "col", class: classes(column, place) }, button);
      cell.dataset.title = column.title;
      return cell;
    }));
  }

  function drawRows() {
    for (const cell of head.children) {
      const isSorted = cell.dataset.title === state.get(sortKey);
      cell.setAttribute("aria-sort", !isSorted ? "none" : state.get(downKey) ? "descending" : "ascending");
    }
    const found = visible();
    status.textContent = `${found.length} of ${rows.length} rows`;
    clear.hidden = !search.value && selects.every(({ select }) => !select.value);
    body.replaceChildren(...found.map(line));
    stick();
  }

  function line(row) {
    const cells = shown().map((column, place) => {
      const cell = make(column.name ? "th" : "td", { class: classes(column, place) }, ...column.fill(row));
      if (column.name) cell.setAttribute("scope", "row");
      if (column.name && above) cell.dataset.above = above.value(row);
      return cell;
    });
    const element = make("tr", {}, ...cells);
    if (opened) openable(element, cells.find(cell => cell.tagName === "TH"), () => make("tr", { class: "open" },
      make("td", { colspan: cells.length }, opened(row))));
    return element;
  }

  // The main columns stand side by side at the left, so each is told the width of those before it.
  function stick() {
    let left = 0;
    [...head.children].filter(cell => cell.classList.contains("main")).forEach((cell, place) => {
      table.style.setProperty(`--left${place}`, `${left}px`);
      left += cell.getBoundingClientRect().width;
    });
  }
  new ResizeObserver(stick).observe(table);

  function redraw() { drawHead(); drawRows(); }

  function refresh() {
    search.value = state.get(findKey) || "";
    for (const { key, select, values } of selects) {
      const wanted = state.get(`${id}.${key}`) || "";
      select.value = values.includes(wanted) ? wanted : "";
      if (select.value) choices.open = true;
    }
    redraw();
  }

  const region = make("div", { class: "scroll", role: "region", "aria-label": `Table: ${title}`, tabindex: "0" }, table);
  const menus = [...selects.length ? [choices] : [], ...others.length ? [columnMenu(others, chosen, redraw)] : []];
  return { refresh, elements: [make("div", { class: "tools" }, form, ...menus, status, clear), region, meanings(id, ordered)] };
}

// Opens and closes a row below another by the button in its first cell.
function openable(element, cell, build) {
  const button = make("button", { type: "button", "aria-expanded": "false" }, ...cell.childNodes);
  cell.append(button);
  button.addEventListener("click", () => {
    const isOpen = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) element.nextSibling.remove(); else element.after(build());
  });
}

// The menu of the columns that are not always shown. chosen: the set of those that are, which it changes.
function columnMenu(others, chosen, redraw) {
  const boxes = others.map(column => {
    const box = make("input", { type: "checkbox" });
    box.checked = chosen.has(column);
    box.addEventListener("change", () => { if (box.checked) chosen.add(column); else chosen.delete(column); redraw(); });
    return box;
  });
  const all = isShown => () => {
    boxes.forEach((box, place) => {
      box.checked = isShown;
      if (isShown) chosen.add(others[place]); else chosen.delete(others[place]);
    });
    redraw();
  };
  const [every, none] = [["Show all", true], ["Hide all", false]].map(([title, isShown]) => {
    const button = make("button", { type: "button" }, title);
    button.addEventListener("click", all(isShown));
    return button;
  });
  return make("details", { class: "menu" }, make("summary", {}, "Columns"),
    make("fieldset", {}, make("legend", {}, "More columns to show"),
      ...others.map((column, place) => make("label", {}, boxes[place], column.title)), make("div", {}, every, none)));
}

// The list of what the columns mean, which also describes the headings to a screen reader.
function meanings(id, columns) {
  const list = make("dl");
  columns.forEach((column, place) => {
    if (measures[column.title])
      list.append(make("dt", {}, column.title), make("dd", { id: `${id}-${place}` }, measures[column.title]));
  });
  return make("section", { class: "meanings" }, make("h3", {}, "What the columns mean"), list);
}
