// The explorer of the report's cells: one state (choices, order, page) from which plot and table are drawn.
// Texts from the data become text nodes, never HTML.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const columns = data.columns;
  const names = Object.keys(columns);
  const byId = (id) => document.getElementById(id);
  const every = data.cells.map((_, place) => place);
  const quantities = names.filter((name) => columns[name].numbers);
  const words = (name, place) => columns[name].words[columns[name].codes[place]];
  const tableColumns = names.filter((name) => columns[name].in_table);
  const printRows = 500;

  const axes = data.axes.filter((axis) => data.varying.includes(axis));
  // Batch sizes, where there are several, are the last axis.
  const start = { y: quantities[0], x: axes.findLast((axis) => axis !== "precision") || "batch_size", group: "precision", sort: null, down: false, page: 0 };
  const state = { ...start, search: "", ticked: {}, chosen: -1 };
  const unchosen = byId("details").firstElementChild;
  let view = null;
  let drawing = Promise.resolve();

  // Numbers as the rest of the report writes them: three significant digits, halves to even.
  const digits = { minimumSignificantDigits: 3, maximumSignificantDigits: 3, roundingMode: "halfEven" };
  const usual = new Intl.NumberFormat("en-US", digits);
  const tiny = new Intl.NumberFormat("en-US", { minimumFractionDigits: 6, maximumFractionDigits: 6 });
  const whole = (count) => count.toLocaleString("en-US");
  const number = (value) => {
    if (value === null) return "-";
    if (value === 0) return "0";
    if (value > 0 && value < 5e-7) return "<0.000001";
    return Math.abs(value) < 1e-4 ? tiny.format(value) : usual.format(value);
  };
  const text = (name, place) => {
    const column = columns[name];
    if (column.words) return words(name, place);
    const centre = number(column.numbers[place]);
    const low = column.low ? column.low[place] : null;
    return low === null ? centre : `${centre} (${number(low)} to ${number(column.high[place])})`;
  };
  const unranked = (name, place) =>
    columns[name].ranked && columns[name].numbers[place] !== null && !data.valid[place];
  const commandOf = (place) =>
    data.command.before + data.axes.map((axis) => `${axis}=${words(axis, place)}`).join(" ") + data.command.ends[data.command.end[place]];

  function element(tag, content = "", attributes = {}) {
    const made = document.createElement(tag);
    made.append(...[content].flat());
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  // Which cells are shown, and in which order.
  function shown() {
    const ticked = Object.entries(state.ticked).filter(([, codes]) => codes.size);
    const search = state.search.toLowerCase().split(/\s+/);
    return every.filter(
      (place) =>
        search.every((word) => data.cells[place].toLowerCase().includes(word)) &&
        ticked.every(([name, codes]) => codes.has(columns[name].codes[place])),
    );
  }
  function sorted(places) {
    if (state.sort === null) return places;
    const column = columns[state.sort];
    const values = column.numbers || column.codes;
    // A number that is absent or may not be ranked stands last in both directions.
    const group = (place) => (column.words ? 0 : values[place] === null ? 2 : unranked(state.sort, place) ? 1 : 0);
    const sign = state.down ? -1 : 1;
    return places.slice().sort((a, b) => group(a) - group(b) || sign * (values[a] - values[b]) || a - b);
  }

  // The choices.
  function fillSelect(id, options, key) {
    const select = byId(id);
    select.append(...options.map((name) => element("option", columns[name].title, { value: name })));
    select.value = state[key];
    select.addEventListener("change", () => ((state[key] = select.value), drawPlot()));
  }
  function fillFilters() {
    const filtered = ["status", "flags", "finding", "device_name"];
    for (const name of [...data.varying, ...filtered]) {
      const said = columns[name].words.filter(Boolean).length;
      if (said < (name === "flags" ? 1 : 2)) continue;
      // A cell with several flags is behind the box of each.
      const choices = new Map();
      columns[name].words.forEach((word, code) => {
        for (const one of name === "flags" ? word.split(",") : [word]) choices.set(one, [...(choices.get(one) || []), code]);
      });
      const boxes = [...choices].map(([one, codes]) => {
        const box = element("input", "", { type: "checkbox", "data-column": name });
        box.addEventListener("change", () => {
          state.ticked[name] = new Set(boxes.filter(({ box }) => box.checked).flatMap(({ codes }) => codes));
          changed();
        });
        return { box, codes, label: element("label", [box, ` ${one || "none"}`]) };
      });
      byId("filters").append(element("fieldset", [element("legend", columns[name].title), ...boxes.map(({ label }) => label)]));
    }
  }
  function changed() {
    state.page = 0;
    drawTable();
    drawPlot();
  }

  // The plot.
  function plotRows() {
    const [y, x] = [columns[state.y], columns[state.x]];
    return shown()
      .filter((place) => y.numbers[place] !== null && (x.words || x.numbers[place] !== null))
      .map((place) => ({
        place,
        cell: data.cells[place],
        x: x.words ? words(state.x, place) : x.numbers[place],
        x_low: x.low ? x.low[place] : null,
        x_high: x.high ? x.high[place] : null,
        y: y.numbers[place],
        low: y.low ? y.low[place] : null,
        high: y.high ? y.high[place] : null,
        group: words(state.group, place),
        valid: data.valid[place] === 1,
        value: text(state.y, place),
        across: text(state.x, place),
        flags: words("flags", place) || "none",
      }));
  }
  function scaleOf(rows, value, low, high) {
    const ends = rows.flatMap((row) => [row[value], row[low] ?? row[value], row[high] ?? row[value]]);
    const [least, most] = ends.reduce(([a, b], end) => [Math.min(a, end), Math.max(b, end)], [Infinity, -Infinity]);
    const logarithmic = least > 0 && most > 20 * least;
    // A scale of one value alone has no length.
    const domain = least < most ? [least, most] : [least - 1, most + 1];
    return logarithmic ? { type: "log", padding: 8, domain } : { zero: false, nice: true, padding: 8, domain };
  }
  function specOf(rows) {
    const [y, x, group] = [columns[state.y], columns[state.x], columns[state.group]];
    const spec = structuredClone(x.words ? data.plots.words : data.plots.numbers);
    const title = (column, scale) => column.title + (scale.type === "log" ? " (logarithmic)" : "");
    const used = new Set(rows.map((row) => row.group));
    const domain = group.words.filter((word) => used.has(word));
    const palette = data.styles[state.group] || data.styles.others;
    const longest = Math.max(...domain.map((word) => word.length));
    const look = domain.map((word) => palette[group.words.indexOf(word) % palette.length]);
    const yScale = scaleOf(rows, "y", "low", "high");
    const xScale = x.words ? null : scaleOf(rows, "x", "x_low", "x_high");
    const width = byId("plot").clientWidth;
    Object.assign(spec.encoding.y, { scale: yScale, title: title(y, yScale) });
    if (x.words) {
      const present = new Set(rows.map((row) => row.x));
      const order = x.words.filter((word) => present.has(word));
      Object.assign(spec.encoding.x, { sort: order, scale: { domain: order }, title: x.title });
      // Roughly: a letter takes 7 pixels, and words stand 2 letters apart.
      if (order.join("  ").length * 7 > width) spec.encoding.x.axis.labelAngle = -40;
      else spec.encoding.x.axis.labelLimit = 0;
      // Marks of one group at each place need no room beside each other.
      if (state.x === state.group) delete spec.encoding.xOffset;
      else spec.encoding.xOffset.scale = { domain };
    } else Object.assign(spec.encoding.x, { scale: xScale, title: title(x, xScale) });
    for (const { encoding = {} } of spec.layer) {
      if (encoding.color) {
        encoding.color.scale = { domain, range: look.map(([colour]) => colour) };
        encoding.color.legend.columns = Math.max(1, Math.floor(width / Math.max(150, 50 + 8 * longest)));
      }
      if (encoding.shape) {
        encoding.shape.scale = { domain, range: look.map(([, shape]) => shape) };
        encoding.shape.legend = encoding.color.legend;
      }
      if (encoding.tooltip) [encoding.tooltip[1].title, encoding.tooltip[2].title] = [y.title, x.title];
      for (const end of ["y", "x"]) if (encoding[end]) encoding[end].title = spec.encoding[end].title;
    }
    spec.description = `${y.title} by ${x.title}, ${whole(rows.length)} cells`;
    spec.datasets = { cells: rows };
    return spec;
  }
  // One drawing at a time: a later choice waits for the one before it, and draws what is chosen by then.
  function drawPlot() {
    drawing = drawing.then(async () => {
      const rows = plotRows();
      const left = shown();
      const all = left.length;
      if (state.chosen >= 0 && !left.includes(state.chosen)) forget();
      const without = all - rows.length;
      byId("count").textContent =
        `${whole(all)} of ${whole(every.length)} cells` +
        (without ? `, ${whole(without)} without a number to plot here.` : ".");
      const plot = byId("plot");
      if (view) view.finalize();
      plot.dataset.drawn = rows.length;
      if (!rows.length) {
        view = null;
        plot.replaceChildren(element("p", all ? "None of these cells has both numbers." : "No cell is left."));
        return;
      }
      // Above some thousand marks a canvas stays quick where as many elements do not.
      const renderer = rows.length > 2000 ? "canvas" : "svg";
      const options = { actions: false, renderer };
      view = (await vegaEmbed(plot, specOf(rows), options)).view;
      view.addEventListener("mouseover", (_, item) => item?.datum?.place >= 0 && choose(item.datum.place));
      ring();
    });
  }
  const ring = () => view && view.signal("chosen", state.chosen).runAsync();

  // One cell.
  function details(place) {
    const said = (name) => text(name, place) || (name === "flags" ? "none" : "-");
    const facts = names
      .filter((name) => said(name) !== "-")
      .map((name) => element("div", [element("dt", columns[name].title), element("dd", said(name))]));
    return [
      element("h4", data.cells[place]),
      element("dl", facts),
      element("p", "Measure it again:", { class: "quiet" }),
      element("pre", commandOf(place), { class: "command" }),
    ];
  }
  function forget() {
    state.chosen = -1;
    byId("details").replaceChildren(unchosen);
    byId("details").classList.remove("filled");
  }
  function choose(place) {
    state.chosen = place;
    byId("details").replaceChildren(...details(place));
    byId("details").classList.add("filled");
    ring();
  }
  byId("plot").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const order = columns[state.x].words ? (row) => columns[state.x].words.indexOf(row.x) : (row) => row.x;
    const rows = plotRows().sort((a, b) => order(a) - order(b) || a.y - b.y);
    if (!rows.length) return;
    const at = rows.findIndex((row) => row.place === state.chosen);
    const next = at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + step));
    choose(rows[next].place);
  });

  // The table.
  const head = byId("cell-table").querySelector("thead tr");
  const body = byId("cell-table").querySelector("tbody");
  function fillHead() {
    const cells = tableColumns.map((name) => {
      const button = element("button", columns[name].title, { type: "button" });
      const cell = element("th", button, { scope: "col", "data-column": name });
      if (columns[name].numbers || name === "batch_size") cell.className = "number";
      button.addEventListener("click", () => {
        // Numbers from the largest first, then from the smallest, then as they came; words the other way.
        const first = Boolean(columns[name].numbers);
        if (state.sort !== name) Object.assign(state, { sort: name, down: first });
        else if (state.down === first) state.down = !first;
        else state.sort = null;
        state.page = 0;
        drawTable();
      });
      return cell;
    });
    head.replaceChildren(...cells);
  }
  function rowOf(place) {
    const cells = tableColumns.map((name, at) => {
      const value = text(name, place);
      if (at === 0) {
        const button = element("button", value, { type: "button", "aria-expanded": "false" });
        button.setAttribute("aria-label", `${value}: show ${data.cells[place]}`);
        button.addEventListener("click", () => toggle(row, button, place));
        return element("td", button);
      }
      const cell = element("td", value);
      if (columns[name].numbers || name === "batch_size") cell.className = "number";
      if (unranked(name, place)) cell.classList.add("unranked");
      return cell;
    });
    const row = element("tr", cells, { "data-cell": data.cells[place] });
    return row;
  }
  function toggle(row, button, place) {
    const open = row.classList.toggle("chosen");
    button.setAttribute("aria-expanded", open);
    if (!open) return row.nextSibling.remove();
    row.after(element("tr", element("td", details(place), { class: "of-row", colspan: tableColumns.length })));
    choose(place);
  }
  function drawTable(most = data.page_rows) {
    const places = sorted(shown());
    const pages = Math.max(1, Math.ceil(places.length / most));
    const from = Math.min(state.page, pages - 1) * most;
    body.replaceChildren(...places.slice(from, from + most).map(rowOf));
    for (const cell of head.children) {
      const own = cell.dataset.column === state.sort;
      cell.setAttribute("aria-sort", own ? (state.down ? "descending" : "ascending") : "none");
    }
    byId("page").textContent = places.length
      ? `Rows ${whole(from + 1)} to ${whole(Math.min(from + most, places.length))} of ${whole(places.length)}`
      : "No cell is left.";
    byId("first").disabled = byId("previous").disabled = from === 0;
    byId("next").disabled = byId("last").disabled = from + most >= places.length;
    byId("pages").hidden = pages === 1 && places.length > 0;
    return pages;
  }
  const turn = (page) => () => {
    const pages = Math.ceil(shown().length / data.page_rows);
    state.page = Math.max(0, Math.min(pages - 1, page(state.page, pages)));
    drawTable();
  };
  byId("first").addEventListener("click", turn(() => 0));
  byId("previous").addEventListener("click", turn((page) => page - 1));
  byId("next").addEventListener("click", turn((page) => page + 1));
  byId("last").addEventListener("click", turn((_, pages) => pages - 1));

  byId("search").addEventListener("input", () => ((state.search = byId("search").value), changed()));
  byId("choices").addEventListener("submit", (event) => event.preventDefault());
  byId("choices").addEventListener("reset", () => {
    // The form's own fields are reset after this event.
    setTimeout(() => {
      Object.assign(state, start, { search: "", ticked: {} });
      forget();
      for (const key of ["x", "y", "group"]) byId(`choose-${key}`).value = state[key];
      changed();
    });
  });
  // On paper there is no next page to turn to.
  addEventListener("beforeprint", () => {
    const page = state.page;
    state.page = 0;
    drawTable(printRows);
    state.page = page;
    // A head that is repeated on every sheet is printed without its buttons.
    for (const cell of head.children) cell.textContent = columns[cell.dataset.column].title;
  });
  addEventListener("afterprint", () => (fillHead(), drawTable()));

  const groups = [...new Set([...data.varying, "precision", "device_name"])].filter((name) => columns[name]);
  fillSelect("choose-y", quantities, "y");
  fillSelect("choose-x", [...new Set([...axes, start.x, ...quantities])], "x");
  fillSelect("choose-group", groups, "group");
  fillFilters();
  fillHead();
  drawTable();
  byId("cell-table").querySelector("p")?.remove();
  for (const id of ["choices", "plot-frame"]) byId(id).hidden = false;
  if (quantities.length) drawPlot();
  else byId("choices").querySelector(".axes").hidden = byId("plot-frame").hidden = true;
})();
