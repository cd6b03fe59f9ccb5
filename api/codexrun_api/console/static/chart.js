// Cost by day, drawn from the table below it, which says the same without a script.
(() => {
    "use strict";
    const box = document.getElementById("chart"),
        rows = [...document.querySelectorAll("#days tr[data-day]")].reverse();
    if (!box || !rows.length || !window.uPlot) return;
    const days = rows.map((row) => Date.parse(row.dataset.day + "T00:00:00Z") / 1000);
    const dollars = rows.map((row) => Number(row.dataset.usd));
    const dollarsOf = (ticks) => {
        const digits = ticks.every(Number.isInteger) ? 0 : 2;
        return (tick) => "$" + tick.toFixed(digits);
    };
    let plot = null;
    function draw() {
        const style = getComputedStyle(document.documentElement),
            probe = document.createElement("i");
        document.body.append(probe);
        const colour = (name) => {
            probe.style.color = `var(--${name})`;
            return getComputedStyle(probe).color;
        };
        const [accent, faint, line] = [colour("accent"), colour("faint"), colour("line")];
        probe.remove();
        plot?.destroy();
        const axis = {
            stroke: faint,
            font: "12px " + style.getPropertyValue("--sans"),
            grid: { stroke: line, width: 1 },
            ticks: { show: false },
        };
        plot = new uPlot(
            {
                width: box.clientWidth,
                height: 200,
                cursor: { y: false },
                legend: { live: true },
                hooks: { ready: [(u) => u.setLegend({ idx: days.length - 1 })] }, // the last day
                tzDate: (ts) => uPlot.tzDate(new Date(ts * 1000), "UTC"),
                scales: {
                    x: { range: (u, min, max) => [min - 43200, max + 43200] },
                    y: { range: (u, min, max) => [0, max * 1.1 || 1] },
                },
                axes: [
                    {
                        ...axis,
                        size: 32,
                        grid: { show: false },
                        values: (u, ticks) =>
                            ticks.map((t) => new Date(t * 1000).toISOString().slice(5, 10)),
                        incrs: [86400, 86400 * 2, 86400 * 7],
                    },
                    { ...axis, size: 56, values: (u, ticks) => ticks.map(dollarsOf(ticks)) },
                ],
                series: [
                    {
                        label: "Day",
                        value: (u, t) =>
                            t == null ? "–" : new Date(t * 1000).toISOString().slice(0, 10),
                    },
                    {
                        label: "Cost",
                        fill: accent,
                        stroke: accent,
                        width: 0,
                        paths: uPlot.paths.bars({ size: [0.6, 60], radius: 0.15 }),
                        points: { show: false },
                        value: (u, v, series, idx) => (idx == null ? "–" : rows[idx].dataset.cost),
                    },
                ],
            },
            [days, dollars],
            box,
        );
    }
    draw();
    let timer = 0;
    addEventListener("resize", () => {
        clearTimeout(timer);
        timer = setTimeout(draw, 150);
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
