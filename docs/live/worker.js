// The worker: Python lives here, so the page itself never waits for it.
//
// The page sends   {type: "start", number, settings, paused}  a new run, Python first;
//                                                             an older run is dropped
//                  {type: "pause"}, {type: "resume"}
// and hears        {type: "loading", what, share}
//                  {type: "ready", versions}
//                  {type: "begin" | "frame", number, frame}
//                  {type: "error", number, message}
// `frame` is what Run.start and Run.train of trainer.py return.

import { plain, reason, startPython } from "./runtime.js";

// Seconds of training between two looks at the messages: a pause or a new run waits for
// no longer than that and an epoch.
const SLICE = 0.06;

let starting = null; // a promise of Python, once it has been asked for
let run = null;
let number = 0;
let paused = false;
let due = false; // whether a step is to follow

function say(what, share) {
  postMessage({ type: "loading", what, share });
}

async function read(name) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new Error(`${name} cannot be loaded (${response.status})`);
  return response.arrayBuffer();
}

async function start() {
  say("Python is loaded", 0);
  const manifest = JSON.parse(new TextDecoder().decode(await read("manifest.json")));
  const indexURL = new URL("runtime/", import.meta.url).href;
  const { loadPyodide } = await import(`${indexURL}pyodide.mjs`);
  const { trainer } = await startPython({ load: loadPyodide, indexURL, manifest, read, say });
  postMessage({ type: "ready", versions: plain(trainer.versions()) });
  return trainer;
}

/** See to it that a step follows, if there is something to train. */
function go() {
  if (due || paused || !run) return;
  due = true;
  setTimeout(step);
}

/** Train for one slice, then let messages in. */
function step() {
  due = false;
  if (paused || !run) return;
  try {
    const frame = plain(run.train(SLICE));
    postMessage({ type: "frame", number, frame });
    paused = frame.done;
  } catch (error) {
    paused = true;
    postMessage({ type: "error", number, message: reason(error) });
  }
  go();
}

async function begin(message) {
  number = message.number;
  paused = message.paused;
  run?.destroy();
  run = null;
  try {
    starting ??= start().catch((error) => {
      starting = null; // the next run tries again
      throw error;
    });
    const trainer = await starting;
    if (number !== message.number) return; // another run was asked for meanwhile
    const { problem, units, activation, rate, seed } = message.settings;
    run = trainer.Run(problem, units, activation, rate, seed);
    postMessage({ type: "begin", number, frame: plain(run.start()) });
    go();
  } catch (error) {
    if (number === message.number) postMessage({ type: "error", number, message: reason(error) });
  }
}

onmessage = ({ data }) => {
  if (data.type === "start") {
    begin(data);
  } else {
    paused = data.type === "pause";
    go();
  }
};
