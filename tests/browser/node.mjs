// Train in Node as the page's worker does, from the files of a built site.
//
//     node tests/browser/node.mjs SITE/_static/live ORDER
//
// ORDER is JSON: {problem, units, activation, rate, seed, epochs}. Prints JSON: the weights
// before and after as hexadecimal bytes, the losses, and what the proof says.

import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const folder = resolve(process.argv[2]);
const order = JSON.parse(process.argv[3]);
const module = (name) => import(pathToFileURL(`${folder}/${name}`).href);

async function read(name) {
  const bytes = await readFile(`${folder}/${name}`);
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
}

// Node takes a .js file for a module only where a package.json says so.
const source = await readFile(`${folder}/runtime.js`, "utf-8");
const { plain, reason, startPython } = await import(`data:text/javascript,${encodeURIComponent(source)}`);
const { loadPyodide } = await module("runtime/pyodide.mjs");
const manifest = JSON.parse(await readFile(`${folder}/manifest.json`, "utf-8"));
const { python, trainer } = await startPython({
  load: loadPyodide,
  indexURL: `${folder}/runtime/`,
  manifest,
  read,
  say: () => {},
});

const run = trainer.Run(order.problem, order.units, order.activation, order.rate, order.seed);
const weights = () => run.model.theta.tobytes().hex();
const before = weights();
const first = plain(run.start());
let losses = [];
let frame = first;
while (frame.epoch < order.epochs) {
  frame = plain(run.train(0)); // one epoch
  losses = losses.concat(frame.losses);
}

let refused = "";
try {
  trainer.Run(order.problem, 0, order.activation, order.rate, order.seed);
} catch (error) {
  refused = reason(error);
}

const [status, said] = python.runPython(`
import contextlib, io
from chainrule.testing.__main__ import main as prove
written = io.StringIO()
with contextlib.redirect_stdout(written):
    status = prove(["--backend", "numpy"])
(status, written.getvalue())
`).toJs();

const result = {
  versions: plain(trainer.versions()),
  before,
  after: weights(),
  epoch: frame.epoch,
  losses,
  worst: [first.worst, frame.worst],
  refused,
  proof: { status, said },
};
process.stdout.write(JSON.stringify(result));
