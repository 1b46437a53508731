// What chooses the rows and the columns of a table.

// The search box, the lists of values, and the button that shows all rows again.
// id: begins the keys of the state. searched: the text of a row that the box looks into, and what
// it is called. filters: [key, label] of the settings that have a list. changed: called after each
// change. Returns the elements, whether a row matches, and refresh, which follows the state.
function rowFilters({ id, title, rows, searched, filters, changed }) {
  const search = make("input", { type: "search" });
  const lists = filters
    .map(([key, label]) => listOfValues(`${id}.${key}`, key, label, rows, changed))
    .filter(list => list.values.length > 1);
  const form = make("form", { "aria-label": `Search: ${title}` },
    make("label", {}, searched.title, search));
  const menu = make("details", { class: "menu" }, make("summary", {}, "Filters"),
    make("form", { "aria-label": `Filters: ${title}` }, ...lists.map(list => list.element)));
  menu.open = !NARROW.matches;
  const clear = make("button", { type: "button" }, "Show all rows");

  search.addEventListener("input", () => {
    keep(`${id}.find`, search.value);
    changed();
  });
  form.addEventListener("submit", event => event.preventDefault());
  clear.addEventListener("click", () => {
    for (const key of [`${id}.find`, ...lists.map(list => list.stateKey)]) keep(key, "");
    refresh();
    changed();
    search.focus();
  });

  function matches(row) {
    clear.hidden = !search.value && lists.every(list => !list.select.value);
    return searched.text(row).toLowerCase().includes(search.value.toLowerCase())
      && lists.every(({ key, select }) => !select.value || row[key] === select.value);
  }

  function refresh() {
    search.value = state.get(`${id}.find`) || "";
    for (const { stateKey, select, values } of lists) {
      const wanted = state.get(stateKey) || "";
      select.value = values.includes(wanted) ? wanted : "";
      if (select.value) menu.open = true;
    }
  }

  return { form, menus: lists.length ? [menu] : [], clear, matches, refresh };
}

function listOfValues(stateKey, key, label, rows, changed) {
  const values = unique(rows.map(row => row[key])).filter(value => value !== "").sort(compared);
  const select = make("select", {}, make("option", { value: "" }, "all"),
    ...values.map(value => make("option", { value }, value)));
  select.addEventListener("change", () => {
    keep(stateKey, select.value);
    changed();
  });
  return { stateKey, key, values, select, element: make("label", {}, label, select) };
}

// The menu of the columns that are not always shown. chosen: the set of those that are, which it
// changes. changed: called after each change.
function columnMenu(columns, chosen, changed) {
  const boxes = columns.map(() => make("input", { type: "checkbox" }));
  const choose = (place, isShown) => {
    boxes[place].checked = isShown;
    if (isShown) chosen.add(columns[place]);
    else chosen.delete(columns[place]);
  };
  columns.forEach((column, place) => {
    choose(place, chosen.has(column));
    boxes[place].addEventListener("change", () => {
      choose(place, boxes[place].checked);
      changed();
    });
  });
  const buttonForAll = (title, isShown) => {
    const button = make("button", { type: "button" }, title);
    button.addEventListener("click", () => {
      boxes.forEach((_, place) => choose(place, isShown));
      changed();
    });
    return button;
  };
  const labels = columns.map((column, place) => make("label", {}, boxes[place], column.title));
  return make("details", { class: "menu" }, make("summary", {}, "Columns"),
    make("fieldset", {}, make("legend", {}, "More columns to show"), ...labels,
      make("div", {}, buttonForAll("Show all", true), buttonForAll("Hide all", false))));
}
