// Reading the runs that follow the page.

// Return the runs, with every array in place of its description (see pack in lib/explorer.py).
async function readRuns() {
  const text = atob(document.getElementById("arrays").textContent.trim()), packed = new Uint8Array(text.length);
  for (let i = 0; i < packed.length; i++) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = await new Response(stream).arrayBuffer();

  const array = ({at, type, shape}) => {
    const count = shape.reduce((product, side) => product * side, 1);
    if (type === "float32") return new Float32Array(bytes, at, count);
    if (type === "uint8") return new Uint8Array(bytes, at, count);
    const halves = new Uint8Array(bytes, at, 2 * count), values = new Int16Array(count);
    for (let i = 0; i < count; i++) values[i] = halves[i] | halves[count + i] << 8;
    return values;
  };
  const layer = ({weight, plus, step, bias}) => {
    const integers = array(weight), steps = array(step), {shape} = weight, values = Float32Array.from(integers);
    if (plus) array(plus).forEach((value, i) => { values[i] += value; });
    // Each step belongs to an output unit: the second axis of a transposed convolution (kernel 4), otherwise the first.
    const size = shape[2] === 4 ? 16 : values.length / shape[0];
    for (let i = 0; i < values.length; i++) values[i] *= steps[Math.floor(i / size) % steps.length];
    return {weight: values, bias: array(bias), shape};
  };
  const revive = value => {
    if (Array.isArray(value)) return value.map(revive);
    if (value === null || typeof value !== "object") return value;
    if (value.weight && value.step) return layer(value);
    if (value.at !== undefined && value.type) return array(value);
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, revive(inner)]));
  };
  return revive(JSON.parse(document.getElementById("runs").textContent));
}
