// What the pages do beyond plain HTML: keys, times, selection, copying. Everything here has a way
// without it.
(() => {
    "use strict";
    const html = document.documentElement;
    html.classList.add("on-js");
    const $ = (selector, root = document) => root.querySelector(selector);
    const all = (selector, root = document) => [...root.querySelectorAll(selector)];
    const kept = {
        get: (name, otherwise) => {
            try {
                return localStorage.getItem("codexrun." + name) ?? otherwise;
            } catch {
                return otherwise;
            }
        },
        set: (name, value) => {
            try {
                localStorage.setItem("codexrun." + name, value);
            } catch {
                /* private windows may refuse */
            }
        },
    };
    const toast = (text) => {
        const box = $("#toast");
        box.textContent = text;
        clearTimeout(toast.timer);
        toast.timer = setTimeout(() => {
            box.textContent = "";
        }, 4000);
    };
    async function copy(text, said = "Copied") {
        try {
            await navigator.clipboard.writeText(text);
            toast(said);
        } catch {
            // only over TLS, and with leave
            const area = document.createElement("textarea");
            area.value = text;
            document.body.append(area);
            area.select();
            toast(document.execCommand("copy") ? said : "The browser did not allow copying");
            area.remove();
        }
    }
    window.codexrun = { $, all, kept, toast, copy, onTimes: times };

    // Times: the server says UTC; here they are the reader's, relative ones kept true.
    function ago(then) {
        const seconds = (Date.now() - then) / 1000;
        if (seconds < 0) return "in a moment";
        for (const [limit, unit, name] of [
            [60, 1, "s"],
            [3600, 60, "min"],
            [86400, 3600, "h"],
            [2592000, 86400, "d"],
        ])
            if (seconds < limit) return Math.floor(seconds / unit) + " " + name + " ago";
        return null;
    }
    const two = "2-digit",
        made = {}; // a format is dear to make, and a log has hundreds of times
    function formats(utc) {
        const zone = { timeZone: utc ? "UTC" : undefined, hour: two, minute: two, second: two };
        return (made[utc] ??= {
            clock: new Intl.DateTimeFormat("en-GB", zone),
            full: new Intl.DateTimeFormat("sv-SE", {
                ...zone,
                year: "numeric",
                month: two,
                day: two,
                timeZoneName: "short",
            }),
        });
    }
    function times(root = document) {
        const as = formats(kept.get("utc", "0") === "1");
        for (const el of all("time[datetime]", root)) {
            const then = new Date(el.dateTime);
            if (isNaN(then)) continue;
            const text = as[el.dataset.form]?.format(then) ?? ago(then);
            if (text && el.textContent !== text) el.textContent = text;
        }
    }

    // Selection in the list
    function selection() {
        const boxes = all("#runs tbody input[name=run]");
        const on = boxes.filter((box) => box.checked);
        const every = $("#all"),
            said = $("#selected"),
            compare = $("#compare");
        if (every) {
            every.checked = boxes.length > 0 && on.length === boxes.length;
            every.indeterminate = on.length > 0 && !every.checked;
        }
        if (said) {
            const text = on.length ? on.length + " selected" : "";
            if (said.textContent !== text) said.textContent = text;
        }
        if (compare) compare.disabled = on.length !== 2;
        return on;
    }

    let cursor = null; // id of the row that j and k move
    function mark(row, focus = true) {
        all("#runs tr.cur").forEach((tr) => tr.classList.remove("cur"));
        if (!row) return;
        cursor = row.id;
        row.classList.add("cur");
        if (focus) {
            const link = $("td.name a", row);
            link.focus({ preventScroll: true });
            row.scrollIntoView({ block: "nearest" });
        }
    }
    function move(step) {
        const rows = all("#runs tbody tr");
        if (!rows.length) return;
        const at = rows.findIndex((row) => row.id === cursor);
        mark(rows[Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + step))]);
    }
    const current = () => cursor && document.getElementById(cursor);

    // Keys: the help is the table.
    const table = all("#help [data-keys]").map((el) => ({
        keys: el.dataset.keys,
        action: el.dataset.action,
    }));
    const click = (selector) => {
        const el = $(selector);
        if (el) el.click();
        return Boolean(el);
    };
    const actions = {
        help: () => $("#help").showModal(),
        search: () => {
            const el = $("[data-key-search]");
            if (el) {
                el.focus();
                el.select();
            }
            return Boolean(el);
        },
        go: (url) => {
            location.href = url;
        },
        start: () => click("[data-key-start]") || (location.href = "/console/start"),
        theme: () => [...$("#theme").elements].find((el) => el.checkVisibility())?.click(),
        escape: () => {
            const pop = $("details.pop[open]");
            if (pop) {
                pop.open = false;
                $("summary", pop).focus();
                return true;
            }
            document.activeElement?.blur();
            return false;
        },
        next: () => $("#runs") && (move(1), true),
        previous: () => $("#runs") && (move(-1), true),
        open: () => {
            const row = current();
            if (!row || document.activeElement?.closest("a,button,summary,input")) return false;
            $("td.name a", row).click();
            return true;
        },
        select: () => {
            const row = current(),
                box = row && $("input[name=run]", row);
            if (box) {
                box.checked = !box.checked;
                selection();
            }
            return Boolean(box);
        },
        cancel: () => {
            const el = $("[data-key-cancel]");
            if (!el) return false;
            el.parentElement.open = true;
            $("#reason").focus();
            return true;
        },
        retry: () => click("[data-key-retry]"),
        rerun: () => click("[data-key-rerun]"),
        tab: (n) => click(`.tabs [data-tab="${n}"]`),
        match: (step) => {
            const el = $(step === "1" ? "#log-next" : "#log-prev");
            if (!el) return false;
            el.click();
            return true;
        },
        follow: () => click("#log-follow"),
        wrap: () => click("#log-wrap"),
    };
    let typed = "",
        typedAt = 0;
    document.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
        const typing = event.target.closest(
            "input:not([type=checkbox]), textarea, select, [contenteditable]",
        );
        if (typing && event.key !== "Escape") return;
        if ($("dialog[open]") && event.key !== "Escape") return;
        if (kept.get("keys", "1") !== "1" && event.key !== "Escape" && event.key !== "Enter")
            return;
        const pressed = Date.now() - typedAt < 1200 && typed ? typed + " " + event.key : event.key;
        const found =
            table.find((b) => b.keys === pressed) || table.find((b) => b.keys === event.key);
        const prefix = table.some((b) => b.keys.startsWith(event.key + " "));
        typed = prefix && !(found && found.keys.includes(" ")) ? event.key : "";
        typedAt = Date.now();
        if (!found || (found.action === "escape" && $("dialog[open]"))) return;
        const [name, ...rest] = found.action.split(":");
        if (actions[name]?.(rest.join(":")) !== false) event.preventDefault();
    });

    document.addEventListener("click", (event) => {
        const copier = event.target.closest("[data-copy], [data-copy-from]");
        if (copier)
            return copy(
                copier.dataset.copy ?? document.getElementById(copier.dataset.copyFrom).value,
            );
        if (event.target.closest("#copy-link")) return copy(location.href, "Link copied");
        if (event.target.closest("#help-open")) $("#help").showModal();
        if (event.target.closest("#compare")) {
            const on = selection();
            if (on.length === 2)
                location.href = `/console/compare?a=${on[1].value}&b=${on[0].value}`;
        }
        const row = event.target.closest("#runs tbody tr");
        if (row) mark(row, false);
    });

    let picked = null;
    document.addEventListener("change", (event) => {
        const el = event.target;
        if (el.id === "all") {
            all("#runs tbody input[name=run]").forEach((box) => {
                box.checked = el.checked;
            });
            selection();
        } else if (el.name === "run") selection();
        else if (el.id === "keys-on") kept.set("keys", el.checked ? "1" : "0");
        else if (el.id === "times-utc") {
            kept.set("utc", el.checked ? "1" : "0");
            times();
        } else if (el.id === "live-on") kept.set("live", el.checked ? "1" : "0");
        else if (el.matches("#filter select, [data-submit]")) el.form.requestSubmit();
    });
    document.addEventListener("click", (event) => {
        // a row of boxes with shift
        const box = event.target.closest("#runs tbody input[name=run]");
        if (!box) return;
        const boxes = all("#runs tbody input[name=run]");
        if (event.shiftKey && picked && boxes.includes(picked)) {
            const [a, b] = [boxes.indexOf(picked), boxes.indexOf(box)].sort((x, y) => x - y);
            boxes.slice(a, b + 1).forEach((each) => {
                each.checked = box.checked;
            });
            selection();
        }
        picked = box;
    });
    document.addEventListener("submit", (event) => {
        // what is empty need not stand in the URL
        if (event.target.id !== "filter") return;
        for (const el of event.target.elements) if (el.name && !el.value) el.disabled = true;
    });
    addEventListener("pageshow", () =>
        all("#filter [disabled]").forEach((el) => {
            el.disabled = false;
        }),
    );

    // A list that is held: its bell still rings, and is not heard.
    addEventListener(
        "refresh",
        (event) => {
            const live = $("#live-on");
            if (live && !live.checked) event.stopImmediatePropagation();
        },
        true,
    );

    function settled() {
        times();
        selection();
        const row = current();
        if (row) row.classList.add("cur");
        const run = $("#run");
        if (run) {
            document.title = run.dataset.title;
            const tone =
                {
                    running: "run",
                    starting: "run",
                    stopping: "wait",
                    queued: "wait",
                    pending: "wait",
                    succeeded: "ok",
                    failed: "bad",
                    rejected: "bad",
                }[run.dataset.state] || "off";
            const icon = $("link[rel=icon]"),
                url = icon.href.replace(/icon[a-z-]*\.svg.*/, `icon-${tone}.svg`);
            if (icon.href !== url) icon.href = url;
        }
    }
    document.addEventListener("htmx:after:swap", settled);
    document.addEventListener("htmx:sse:error", () => {
        html.dataset.offline = "1";
    });
    document.addEventListener("htmx:sse:after:connection", () => {
        if (html.dataset.offline) {
            delete html.dataset.offline;
            toast("Connected again");
        }
    });

    // The extension tries again when a stream has ended; a page whose very first try fails would
    // stay still.
    for (const failed of ["htmx:error", "htmx:response:error"])
        document.addEventListener(failed, (event) => {
            if (event.target.id === "bell")
                setTimeout(() => htmx.trigger(event.target, "again"), 2000);
        });

    const utc = $("#times-utc"),
        keys = $("#keys-on"),
        live = $("#live-on");
    if (utc) utc.checked = kept.get("utc", "0") === "1";
    if (keys) keys.checked = kept.get("keys", "1") === "1";
    if (live) live.checked = kept.get("live", "1") === "1";
    settled();
    setInterval(() => {
        if (!document.hidden) times($("main"));
    }, 15000);
    const errors = $("#errors");
    if (errors) errors.focus();
})();
