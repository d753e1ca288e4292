// Python and its packages, from files alone: in the page's worker and in Node alike.

/**
 * Start Python, install the wheels that the manifest names, and import trainer.py.
 *
 * `load` is Pyodide's loadPyodide, `indexURL` where its files are, `read(name)` gives a
 * file's bytes, and `say(what, share)` hears how far it is. Wheels are unpacked as they
 * are: nothing is looked up in an index, and so nothing is asked of the network.
 */
export async function startPython({ load, indexURL, manifest, read, say }) {
  say("Python starts", 0.1);
  const python = await load({ indexURL });
  const site = python.runPython("import site; site.getsitepackages()[0]");
  for (const [i, wheel] of manifest.wheels.entries()) {
    say(`${wheel.name} ${wheel.version} is unpacked`, 0.4 + (0.4 * i) / manifest.wheels.length);
    python.unpackArchive(await read(wheel.file), "wheel", { extractDir: site });
  }
  say("chainrule is imported", 0.9);
  python.FS.writeFile(`${site}/trainer.py`, new Uint8Array(await read("trainer.py")));
  const trainer = python.pyimport("trainer");
  return { python, trainer };
}

/** Turn a dictionary of Python into an object, its arrays into typed arrays. */
export function plain(proxy) {
  const value = proxy.toJs({ dict_converter: Object.fromEntries });
  proxy.destroy();
  return value;
}

/** Say what an error of Python is, without its traceback. */
export function reason(error) {
  const lines = String(error.message ?? error).trim().split("\n");
  return lines.at(-1).replace(/^[\w.]*\.(\w+Error: )/, "$1");
}
