// The page "Train it here": its controls, its pictures, and the worker that trains.

import { colours, curves, sphere } from "./draw.js";

const $ = (id) => document.getElementById(`live-${id}`);
const root = document.getElementById("live");

// What each problem begins with: the settings of the README's figures.
const DEFAULTS = {
  parabola: { units: 32, activation: "tanh", rate: -2 },
  sphere: { units: 48, activation: "gelu_tanh", rate: -2 },
};
const TITLES = {
  parabola: '<b class="live-key-fit">The network</b> and <b class="live-key-target">x²</b>',
  sphere: "The network's points, coloured by their distance from where they belong",
};

// idle (nothing was asked for), loading, training, paused, done, failed or absent
let state = "idle";
let worker = null;
let number = 0; // of the run; frames of an older one are not drawn
let first = null; // the run's first frame, which has what does not change
let frame = null; // its last
let losses = [];
let angle = 0.6;
let stale = true; // whether something must be drawn

// --- Controls ---------------------------------------------------------------------------

function settings() {
  return {
    problem: $("form").elements.problem.value,
    units: Number($("units").value),
    activation: $("activation").value,
    rate: 10 ** Number($("rate").value),
    seed: Number($("seed").value),
  };
}

function showSettings() {
  const { problem, units, rate, seed } = settings();
  $("units-value").value = units;
  $("rate-value").value = rate.toPrecision(2);
  $("seed-value").value = seed;
  $("rate").setAttribute("aria-valuetext", rate.toPrecision(2));
  $("panels").dataset.problem = problem;
  root.dataset.problem = problem;
  $("fit-title").innerHTML = TITLES[problem];
}

function enter(next, text) {
  state = next;
  root.dataset.state = next;
  $("status").textContent = text;
  $("go").textContent = { training: "Pause", loading: "Pause", paused: "Go on", done: "Again" }[next] ?? "Train";
  $("progress").hidden = !["loading", "training", "paused"].includes(next);
}

/** Begin anew with the settings as they are: at once, or at the next press of Train. */
function restart(paused) {
  number += 1;
  [first, frame, losses, stale] = [null, null, [], true];
  showNumbers();
  if (paused && !worker) return enter("idle", "Press Train.");
  worker ??= hire();
  worker.postMessage({ type: "start", number, settings: settings(), paused });
  $("progress").removeAttribute("value"); // no share of it is known yet
  enter(paused ? "paused" : "loading", paused ? "The weights are new. Press Go on." : "Starting …");
}

function go() {
  if (state === "training") {
    worker.postMessage({ type: "pause" });
    enter("paused", `Paused after ${frame?.epoch ?? 0} epochs.`);
  } else if (state === "paused") {
    worker.postMessage({ type: "resume" });
    enter("training", "Training …");
  } else if (state === "loading") {
    restart(true);
  } else if (state !== "absent") {
    restart(false);
  }
}

// --- The worker -------------------------------------------------------------------------

function hire() {
  const made = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  made.onmessage = ({ data }) => hear(data);
  made.onerror = (event) => fail(`The worker did not start: ${event.message ?? "a file is missing"}.`);
  return made;
}

function hear(message) {
  if (message.type === "loading") {
    if (state === "loading") $("status").textContent = `${message.what} …`;
    $("progress").value = message.share;
  } else if (message.type === "ready") {
    const { chainrule, numpy, python } = message.versions;
    $("versions").textContent = `Runs in this browser: chainrule ${chainrule}, NumPy ${numpy}, Python ${python}.`;
  } else if (message.number !== number) {
    return; // an older run's
  } else if (message.type === "error") {
    fail(message.message);
  } else {
    if (message.type === "begin") {
      first = message.frame;
      if (state === "loading") enter("training", "Training …");
    }
    frame = message.frame;
    losses = losses.concat(frame.losses);
    stale = true;
    $("progress").value = frame.epoch / frame.epochs;
    showNumbers();
    if (frame.done) enter("done", `Trained for ${frame.epochs} epochs.`);
  }
}

function fail(text) {
  enter("failed", text);
}

/** Say in place of the pictures why nothing can be trained here. */
function refuse(html) {
  $("note").innerHTML = html;
  $("note").hidden = false;
  for (const each of root.querySelectorAll("input, select, button")) each.disabled = true;
  enter("absent", "Nothing can be trained here.");
}

// --- Numbers and pictures ---------------------------------------------------------------

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";

function power(n) {
  const digits = Array.from(String(Math.abs(n)), (digit) => RAISED[digit]).join("");
  return `10${n < 0 ? "⁻" : ""}${digits}`;
}

function small(value) {
  if (value === undefined) return "–";
  if (value >= 0.001 && value < 1000) return value.toPrecision(3);
  const [digits, exponent] = value.toExponential(1).split("e");
  return `${digits} × ${power(Number(exponent))}`;
}

function showNumbers() {
  const put = (id, value, text) => {
    $(id).textContent = value === undefined ? "–" : text(value);
    $(id).dataset.value = value ?? "";
  };
  const whole = (value) => Math.round(value).toLocaleString("en");
  put("epoch", frame?.epoch, (epoch) => `${epoch} of ${frame.epochs}`);
  put("last", losses.at(-1), small);
  put("worst", frame?.worst, small);
  put("worst-slope", frame?.worstSlope, small);
  put("parameters", first?.parameters, whole);
  put("speed", frame?.rate, whole);
}

function plainNumber(value) {
  return String(value).replace("-", "−");
}

const GRID = Float32Array.from({ length: 201 }, (_, i) => -1 + i / 100);

function drawParabola(colour) {
  const x = { from: -1, to: 1, ticks: [-1, -0.5, 0, 0.5, 1], show: plainNumber };
  const targets = first?.targets ?? GRID.map((v) => v * v);
  const xs = first?.inputs ?? GRID;
  const wanted = { xs, ys: targets, colour: colour.target, width: 5 };
  const slopes = { xs, ys: xs.map((v) => 2 * v), colour: colour.target, width: 4 };
  const fit = frame ? [{ xs, ys: frame.output, colour: colour.fit, width: 2 }] : [];
  const slope = frame ? [{ xs, ys: frame.slope, colour: colour.fit, width: 1.75 }] : [];
  const y = { from: -0.35, to: 1.15, ticks: [0, 0.5, 1], show: plainNumber };
  const dy = { from: -2.6, to: 2.6, ticks: [-2, 0, 2], show: plainNumber };
  curves($("fit"), colour, x, y, [wanted, ...fit]);
  curves($("slope"), colour, x, dy, [slopes, ...slope]);
  const error = frame ? `; worst error ${small(frame.worst)}` : "";
  $("fit").ariaLabel = `The network's output over x, with x² itself${error}`;
  $("slope").ariaLabel = "The exact slope of the network over x, with 2x itself";
}

function drawSphere(colour) {
  sphere($("fit"), colour, angle, frame?.output ?? null, frame?.error ?? null);
  const error = frame ? `; worst error ${small(frame.worst)}` : "";
  $("fit").ariaLabel = `1,024 points of the network about a sphere${error}`;
}

function drawLoss(colour) {
  const epochs = frame?.epochs ?? { parabola: 1000, sphere: 200 }[root.dataset.problem];
  // Only positive losses have a place on a logarithmic axis.
  const positive = losses.filter((loss) => loss > 0);
  const lowest = positive.reduce((a, b) => Math.min(a, b), 1e-2);
  const highest = positive.reduce((a, b) => Math.max(a, b), 1);
  const [from, to] = [Math.floor(Math.log10(lowest)), Math.ceil(Math.log10(highest))];
  const ticks = Array.from({ length: to - from + 1 }, (_, i) => from + i);
  const x = { from: 0, to: epochs, ticks: [0, epochs / 2, epochs], show: String };
  const y = { from, to, ticks, show: power, log: true };
  curves($("loss"), colour, x, y, [{ ys: positive, colour: colour.fit, width: 1.5 }]);
  $("loss").ariaLabel = losses.length
    ? `The training loss, ${small(losses[0])} at first and ${small(losses.at(-1))} now`
    : "The training loss: nothing is trained yet";
}

let before = 0;

function paint(now) {
  const sphereShown = root.dataset.problem === "sphere";
  const turning = sphereShown && $("turn").checked;
  if (turning) angle += 0.00025 * Math.min(now - before, 100);
  before = now;
  if (stale || turning) {
    const colour = colours(root);
    if (sphereShown) drawSphere(colour);
    else drawParabola(colour);
    if (stale) drawLoss(colour);
    stale = false;
  }
  requestAnimationFrame(paint);
}

// --- Start ------------------------------------------------------------------------------

async function begin() {
  // A form keeps its values over a reload in some browsers.
  showSettings();
  enter("idle", "Press Train.");
  $("turn").checked = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  requestAnimationFrame(paint);

  $("go").addEventListener("click", go);
  $("reset").addEventListener("click", () => restart(true));
  $("form").addEventListener("submit", (event) => event.preventDefault());
  $("form").addEventListener("input", (event) => {
    if (event.target.name === "problem") {
      const { units, activation, rate } = DEFAULTS[event.target.value];
      [$("units").value, $("activation").value, $("rate").value] = [units, activation, rate];
    }
    showSettings();
    restart(state === "idle" || state === "paused");
  });
  const redraw = () => {
    stale = true;
  };
  new ResizeObserver(redraw).observe($("panels"));
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });

  const manifest = await (await fetch(new URL("manifest.json", import.meta.url))).json();
  if (!manifest.pyodide) {
    refuse(
      "This build of the site has no runtime for NumPy in the browser. In a clone of the repository, " +
        "<code>nox -s docs-browser</code> gets one, and the site that is built after it has it.",
    );
  } else {
    const size = Math.round(manifest.bytes / 1e6);
    $("status").textContent = `Press Train: it loads ${size} MB from this site, once.`;
  }
}

begin();
