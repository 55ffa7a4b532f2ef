"use strict";
// Lays the picture out for the window's width, zooms and searches. Without it the picture is 1,200 pixels wide.
(function () {
  var SVG = "http://www.w3.org/2000/svg", HTML = "http://www.w3.org/1999/xhtml";
  var PAD = 10, LEADING = 4, SWATCH = 18, TOOLS = 30;
  var svg, frames, items, total, info, tools, box, clear, unzoom, matched;
  var zoomed = null, advance = 7.3, top_of_frames, height_of_frames, inner_width;

  function init() {
    frames = document.getElementById("frames");
    svg = frames.ownerSVGElement;
    total = Number(frames.getAttribute("total_samples"));
    top_of_frames = Number(frames.getAttribute("data-top"));
    items = Array.from(frames.children, function (group) {
      var rect = group.querySelector("rect"), title = group.querySelector("title").textContent;
      return {
        group: group, rect: rect, text: group.querySelector("text"), title: title,
        // A label is all but the weight in the last parentheses.
        label: title.replace(/ \([^(]*\)$/, ""),
        x: Number(rect.getAttribute("fg:x")), width: Number(rect.getAttribute("fg:w")),
        y: Number(rect.getAttribute("y"))
      };
    });
    height_of_frames = items.reduce(function (most, item) { return Math.max(most, item.y); }, 0) + 16 - top_of_frames;
    items.forEach(function (item) { item.group.frame = item; });
    ["title", "facts", "details"].forEach(function (id) {
      var text = document.getElementById(id);
      if (text) text.words = Array.from(text.children, function (line) { return line.textContent; }).join(" ").split(" ");
    });
    make_tools();
    svg.removeAttribute("viewBox");
    svg.setAttribute("width", "100%");
    frames.addEventListener("click", function (event) {
      var item = item_of(event);
      if (item) zoom(item);
    });
    frames.addEventListener("mouseover", function (event) {
      var item = item_of(event);
      info.textContent = item ? item.title : "";
    });
    frames.addEventListener("mouseleave", function () { info.textContent = ""; });
    window.addEventListener("resize", lay_out);
    window.addEventListener("keydown", function (event) {
      if (event.key === "f" && (event.ctrlKey || event.metaKey) && document.activeElement !== box) {
        event.preventDefault();
        box.focus();
        box.select();
      }
    });
    lay_out();
    restore();
  }

  function item_of(event) {
    var group = event.target.closest("#frames > g");
    return group && group.frame;
  }

  function make_tools() {
    tools = document.createElementNS(SVG, "foreignObject");
    tools.setAttribute("x", PAD);
    tools.setAttribute("height", TOOLS);
    var row = html("div", tools);
    row.id = "tools";
    box = html("input", row);
    box.id = "search";
    box.type = "search";
    box.placeholder = "Search (regexp) Ctrl-F";
    box.setAttribute("aria-label", "Search frames by regular expression");
    box.addEventListener("input", function () { search(box.value); });
    box.addEventListener("keydown", function (event) {
      if (event.key === "Escape") reset_search();
    });
    clear = button(row, "reset-search", "Reset search", reset_search);
    unzoom = button(row, "reset-zoom", "Reset zoom", reset_zoom);
    matched = html("span", row);
    matched.id = "matched";
    svg.insertBefore(tools, frames);
    info = document.createElementNS(SVG, "text");
    info.id = "info";
    info.setAttribute("x", PAD);
    svg.insertBefore(info, frames);
  }

  function html(name, parent) {
    return parent.appendChild(document.createElementNS(HTML, name));
  }

  function button(row, id, label, action) {
    var made = html("button", row);
    made.id = id;
    made.textContent = label;
    made.disabled = true;
    made.addEventListener("click", action);
    return made;
  }

  // Layout

  function lay_out() {
    var width = Math.max(svg.getBoundingClientRect().width || 1200, 200);
    inner_width = width - 2 * PAD;
    var y = PAD;
    [["title", 16], ["facts", 12], ["details", 12]].forEach(function (line) {
      var text = document.getElementById(line[0]);
      if (text) y = wrap(text, line[1], y);
    });
    y = place_legend(y);
    tools.setAttribute("y", y);
    tools.setAttribute("width", inner_width);
    y += TOOLS;
    // On narrow windows, what a frame is called may need most of the line.
    info.setAttribute("y", y + 10);
    y += 18;
    frames.setAttribute("y", y - top_of_frames);
    frames.setAttribute("width", inner_width);
    svg.setAttribute("height", y + height_of_frames + PAD);
    place();
  }

  function wrap(text, size, y) {
    var most = Math.max(Math.floor(inner_width / (size * character())), 8);
    var lines = [""];
    text.words.forEach(function (word) {
      var line = lines[lines.length - 1];
      if (line && line.length + 1 + word.length > most) lines.push(line = "");
      line = line ? line + " " + word : word;
      // A word that is longer than a line.
      for (lines.pop(); line.length > most; line = line.slice(most)) lines.push(line.slice(0, most));
      lines.push(line);
    });
    text.textContent = "";
    lines.forEach(function (line) {
      y += size;
      var part = document.createElementNS(SVG, "tspan");
      part.setAttribute("x", PAD);
      part.setAttribute("y", y);
      part.textContent = line;
      text.appendChild(part);
      y += LEADING;
    });
    return y;
  }

  // Width of a character in font sizes.
  function character() {
    var measured = 0;
    info.textContent = "mmmmmmmmmm";
    measured = info.getComputedTextLength() / 10 / 12;
    info.textContent = "";
    if (measured > 0) advance = measured * 12;
    return measured || 0.61;
  }

  function place_legend(y) {
    var keys = svg.querySelectorAll(".key"), x = PAD;
    if (keys.length === 0) return y;
    y += 2 * LEADING;
    keys.forEach(function (key) {
      var wide = SWATCH + key.querySelector("text").textContent.length * advance;
      if (x > PAD && x + wide > PAD + inner_width) {
        x = PAD;
        y += 12 + LEADING;
      }
      key.setAttribute("transform", "translate(" + x + "," + y + ")");
      x += wide + 20;
    });
    return y + 12 + 2 * LEADING;
  }

  // Frames

  function is_visible(item) {
    if (!zoomed) return true;
    if (item.y < zoomed.y) return item.x <= zoomed.x && item.x + item.width >= zoomed.x + zoomed.width;
    return item.x >= zoomed.x && item.x < zoomed.x + zoomed.width;
  }

  function place() {
    var start = zoomed ? zoomed.x : 0, whole = zoomed ? zoomed.width : total;
    items.forEach(function (item) {
      var above = zoomed !== null && item.y < zoomed.y, visible = is_visible(item);
      item.group.classList.toggle("hide", !visible);
      item.group.classList.toggle("above", above && visible);
      if (!visible) return;
      var x = above ? 0 : (item.x - start) / whole, width = above ? 1 : item.width / whole;
      item.rect.setAttribute("x", (100 * x).toFixed(4) + "%");
      item.rect.setAttribute("width", (100 * width).toFixed(4) + "%");
      item.text.setAttribute("x", (100 * x + 300 / inner_width).toFixed(4) + "%");
      var room = Math.floor((width * inner_width - 3) / advance);
      item.text.textContent = item.label.length <= room ? item.label
        : room < 3 ? "" : item.label.slice(0, room - 2) + "..";
    });
    unzoom.disabled = zoomed === null;
  }

  function zoom(item) {
    zoomed = item.width === total ? null : item;
    place();
    count();
    remember("x", zoomed && zoomed.x);
    remember("y", zoomed && zoomed.y);
  }

  // The search stays, and is of all frames again.
  function reset_zoom() {
    zoomed = null;
    place();
    count();
    remember("x", null);
    remember("y", null);
  }

  // Search

  function pattern(term) {
    // Capital letters are meant.
    var flags = term === term.toLowerCase() ? "i" : "";
    try {
      return new RegExp(term, flags);
    } catch (error) {
      return new RegExp(term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), flags);
    }
  }

  function search(term) {
    var wanted = term === "" ? null : pattern(term);
    items.forEach(function (item) {
      item.is_match = wanted !== null && wanted.test(item.label);
      item.group.classList.toggle("match", item.is_match);
    });
    clear.disabled = wanted === null;
    count();
    remember("s", term || null);
  }

  // The zoom stays.
  function reset_search() {
    box.value = "";
    search("");
  }

  // Shows the share of what is visible that is in matching frames; those below a match count once.
  function count() {
    var found = items.filter(function (item) {
      return item.is_match && is_visible(item) && !(zoomed && item.y < zoomed.y);
    });
    found.sort(function (a, b) { return a.x - b.x || b.width - a.width; });
    var sum = 0, end = 0;
    found.forEach(function (item) {
      if (item.x < end) return;
      sum += item.width;
      end = item.x + item.width;
    });
    var whole = zoomed ? zoomed.width : total;
    matched.textContent = box.value === "" ? "" : "Matched: " + (100 * sum / whole).toFixed(1) + "%";
  }

  // Zoom and search are in the address, so that it can be passed on.

  function remember(name, value) {
    var parameters = new URLSearchParams(location.search);
    if (value === null) parameters.delete(name); else parameters.set(name, value);
    var query = parameters.toString();
    try {
      history.replaceState(null, "", query ? "?" + query : location.pathname);
    } catch (error) {
      // Some browsers refuse it for local files.
    }
  }

  function restore() {
    var parameters = new URLSearchParams(location.search);
    var x = Number(parameters.get("x")), y = Number(parameters.get("y"));
    var item = parameters.has("y") && items.find(function (item) { return item.x === x && item.y === y; });
    if (item) zoom(item);
    if (parameters.get("s")) {
      box.value = parameters.get("s");
      search(box.value);
    }
  }

  window.addEventListener("load", init);
})();
