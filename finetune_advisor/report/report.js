(function () {
  "use strict";
  // What fills A4 within its margins once report.css has made it smaller, in pixels.
  var PAPER = { width: 830, ink: "#1b2127", page: "#ffffff" };
  var charts = Array.from(document.querySelectorAll(".chart"));
  var dark = matchMedia("(prefers-color-scheme: dark)");

  function screen() {
    var page = getComputedStyle(document.documentElement).getPropertyValue("--page").trim();
    return { ink: getComputedStyle(document.body).color, page: page };
  }

  function paint(layout, medium) {
    layout.font.color = medium.ink;
    Object.keys(layout).forEach(function (key) {
      if (/^[xy]axis/.test(key)) { layout[key].linecolor = layout[key].tickcolor = medium.ink; }
    });
    layout.hoverlabel.bgcolor = medium.page;
    layout.hoverlabel.font = { color: medium.ink };
    if (medium.width) { layout.width = medium.width; }
    return layout;
  }

  function draw(medium) {
    charts.forEach(function (box) {
      var figure = JSON.parse(document.getElementById(box.dataset.figure).textContent);
      var options = { responsive: true, displaylogo: false, displayModeBar: false };
      Plotly.react(box, figure.data, paint(figure.layout, medium), options);
    });
  }

  function redraw() { draw(screen()); }

  redraw();
  dark.addEventListener("change", redraw);
  addEventListener("beforeprint", function () { draw(PAPER); });
  addEventListener("afterprint", redraw);
})();
