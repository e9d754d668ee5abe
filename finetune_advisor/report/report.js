(function () {
  "use strict";
  var charts = Array.from(document.querySelectorAll(".chart"));
  var dark = matchMedia("(prefers-color-scheme: dark)");

  function paint(layout) {
    var ink = getComputedStyle(document.body).color;
    layout.font.color = ink;
    Object.keys(layout).forEach(function (key) {
      if (/^[xy]axis/.test(key)) { layout[key].linecolor = layout[key].tickcolor = ink; }
    });
    layout.hoverlabel.bgcolor = getComputedStyle(document.documentElement).getPropertyValue("--page").trim();
    layout.hoverlabel.font = { color: ink };
    return layout;
  }

  function draw() {
    charts.forEach(function (box) {
      var figure = JSON.parse(document.getElementById(box.dataset.figure).textContent);
      var options = { responsive: true, displaylogo: false, displayModeBar: false };
      Plotly.react(box, figure.data, paint(figure.layout), options);
    });
  }

  draw();
  dark.addEventListener("change", draw);
  addEventListener("beforeprint", function () { charts.forEach(function (box) { Plotly.Plots.resize(box); }); });
})();
