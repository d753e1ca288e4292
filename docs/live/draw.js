// Pictures on canvases: curves with axes, and points on a turning sphere.

/** Return a canvas's context, scaled to the screen's pixels, and its size; it is cleared. */
function sheet(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "12px system-ui, sans-serif";
  pen.lineJoin = "round";
  return { pen, width, height };
}

/** Return the colours of the theme that the page has now. */
export function colours(element) {
  const style = getComputedStyle(element);
  const names = ["muted", "grid", "fit", "target"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--live-${name}`).trim()]));
}

/**
 * Draw curves over two axes.
 *
 * Each of `x` and `y` is {from, to, ticks, show, log}: a log axis is given powers of ten
 * in `from`, `to` and `ticks`. A curve is {xs, ys, colour, width}.
 */
export function curves(canvas, colour, x, y, drawn) {
  const { pen, width, height } = sheet(canvas);
  const [left, right, top, bottom] = [44, 12, 10, 24];
  const span = { w: width - left - right, h: height - top - bottom };
  if (span.w <= 0 || span.h <= 0) return;
  const across = (v) => left + (span.w * (v - x.from)) / (x.to - x.from);
  const up = (v) => top + span.h - (span.h * ((y.log ? Math.log10(v) : v) - y.from)) / (y.to - y.from);

  pen.fillStyle = colour.muted;
  pen.strokeStyle = colour.grid;
  pen.lineWidth = 1;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const tick of y.ticks) {
    const at = Math.round(up(y.log ? 10 ** tick : tick)) + 0.5;
    pen.beginPath();
    pen.moveTo(left, at);
    pen.lineTo(width - right, at);
    pen.stroke();
    pen.fillText(y.show(tick), left - 6, at);
  }
  pen.textBaseline = "top";
  for (const tick of x.ticks) {
    // The labels at the ends stay inside the picture.
    pen.textAlign = tick === x.to ? "right" : "center";
    pen.fillText(x.show(tick), across(tick) + (tick === x.to ? 6 : 0), height - bottom + 7);
  }

  pen.save();
  pen.beginPath();
  pen.rect(left, top - 2, span.w, span.h + 4);
  pen.clip();
  for (const { xs, ys, colour: ink, width: line } of drawn) {
    pen.strokeStyle = ink;
    pen.lineWidth = line;
    pen.beginPath();
    for (let i = 0; i < ys.length; i += 1) pen.lineTo(across(xs ? xs[i] : i), up(ys[i]));
    pen.stroke();
  }
  pen.restore();
}

// Errors from 0.001 (blue) to 1 (red), by powers of ten: equal steps to the eye, and told
// apart by readers who do not see red and green as two.
const RAMP = [[49, 104, 190], [68, 165, 205], [240, 200, 80], [226, 120, 50], [190, 40, 60]];
const [BEST, WORST] = [-3, 0];

function shade(error) {
  const at = (Math.log10(Math.max(error, 1e-9)) - BEST) / (WORST - BEST);
  const place = Math.min(Math.max(at, 0), 1) * (RAMP.length - 1);
  const low = Math.min(Math.floor(place), RAMP.length - 2);
  const mix = RAMP[low].map((v, i) => Math.round(v + (place - low) * (RAMP[low + 1][i] - v)));
  return `rgb(${mix})`;
}

const TILT = 0.42;

/** Return a function from (x, y, z) to the screen and the depth, seen from an angle. */
function view(angle, cx, cy, radius) {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  const [ct, st] = [Math.cos(TILT), Math.sin(TILT)];
  return (x, y, z) => {
    const [u, v] = [c * x - s * y, s * x + c * y];
    return [cx + radius * u, cy - radius * (ct * z - st * v), -(ct * v + st * z)];
  };
}

/** Draw the true sphere as lines, and the network's points, coloured by their error. */
export function sphere(canvas, colour, angle, points, errors) {
  const { pen, width, height } = sheet(canvas);
  const legend = 38;
  const radius = 0.43 * Math.min(width, height - legend);
  if (radius <= 0) return;
  const see = view(angle, width / 2, (height - legend) / 2 + 2, radius);

  pen.strokeStyle = colour.grid;
  pen.lineWidth = 1;
  const circle = (at) => {
    pen.beginPath();
    for (let i = 0; i <= 72; i += 1) {
      const [px, py] = see(...at((i * Math.PI) / 36));
      pen.lineTo(px, py);
    }
    pen.stroke();
  };
  for (let k = 0; k < 6; k += 1) {
    const [c, s] = [Math.cos((k * Math.PI) / 6), Math.sin((k * Math.PI) / 6)];
    circle((t) => [c * Math.cos(t), s * Math.cos(t), Math.sin(t)]);
  }
  for (const latitude of [-1, -0.5, 0, 0.5, 1]) {
    const [c, s] = [Math.cos(latitude), Math.sin(latitude)];
    circle((t) => [c * Math.cos(t), c * Math.sin(t), s]);
  }

  if (points) {
    const seen = Array.from(errors, (error, i) => [...see(...points.subarray(3 * i, 3 * i + 3)), error]);
    seen.sort((a, b) => a[2] - b[2]); // those behind first
    pen.save();
    pen.beginPath();
    pen.rect(0, 0, width, height - legend);
    pen.clip();
    for (const [px, py, depth, error] of seen) {
      pen.globalAlpha = depth < 0 ? 0.28 : 1;
      pen.fillStyle = shade(error);
      pen.beginPath();
      pen.arc(px, py, depth < 0 ? 1.8 : 2.6, 0, 2 * Math.PI);
      pen.fill();
    }
    pen.restore();
  }

  const [bar, y] = [Math.min(220, width - 120), height - 30];
  const x = (width - bar) / 2;
  for (let i = 0; i < bar; i += 1) {
    pen.fillStyle = shade(10 ** (BEST + ((WORST - BEST) * i) / bar));
    pen.fillRect(x + i, y, 1.5, 7);
  }
  pen.fillStyle = colour.muted;
  pen.textBaseline = "top";
  pen.textAlign = "center";
  for (let tick = BEST; tick <= WORST; tick += 1) {
    pen.fillText(String(10 ** tick), x + (bar * (tick - BEST)) / (WORST - BEST), y + 12);
  }
}
