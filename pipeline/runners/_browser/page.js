/* The browser runner's page: loads models into LiteRT.js, invokes them, and posts what it saw to its server.

   GET  /request.json      what browser.py asks for
   GET  /model/<i>         the .tflite; /model/<i>.gzip and .br: the same, sent compressed
   GET  /samples/<i>       input tensors of model i, one behind the other, in the input's own dtype
   POST /result/<i>.outputs  output tensors of model i, one behind the other
   POST /result/state      where it is, in words
   POST /result/report     the rest, or {"error": {…}}; the page is done

   Times come in batches of invocations, since a page's clock is coarse: a batch takes at least
   `clock_steps` steps of it. Deleting the outputs is part of an invocation: every page has to. */

import {loadAndCompile, loadLiteRt, Tensor} from '@litertjs/core';

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, int8: Int8Array, uint8: Uint8Array,
  int16: Int16Array, uint16: Uint16Array, int32: Int32Array, uint32: Uint32Array,
};
const RUNTIME = '/litert/';

/* LiteRT.js gives numbers for a model that its interpreter could not prepare, and tells of it on the
   console alone: what it calls an error there is one here. It takes console.error when it is loaded. */
const complaints = [];
const consoleError = console.error.bind(console);
console.error = (...parts) => {
  consoleError(...parts);
  if (String(parts[0]).startsWith('ERROR')) complaints.push(parts.join(' '));
};

class Model {
  constructor(index, options) {
    this.index = index;
    this.url = `/model/${index}`;
    this.options = options;
  }

  /* Everything up to the first output: what a page's visitor waits for once the runtime is there. */
  async load() {
    this.samples = await (await fetch(`/samples/${this.index}`)).arrayBuffer();
    const start = performance.now();
    this.compiled = await loadAndCompile(this.url, this.options);
    this.details = this.compiled.getInputDetails()[0];
    const array = ARRAYS[this.details.dtype];
    this.elements = this.details.shape.reduce((product, size) => product * size, 1);
    this.values = new array(this.samples);
    this.count = this.values.length / this.elements;
    this.setSample(0);
    await this.output();
    this.firstAnswerMs = performance.now() - start;
  }

  setSample(index) {
    this.input?.delete();
    const start = (index % this.count) * this.elements;
    this.input = new Tensor(this.values.subarray(start, start + this.elements), [...this.details.shape]);
  }

  async output() {
    const outputs = await this.compiled.run(this.input);
    if (complaints.length) throw new Error('no output can be trusted');
    const values = await outputs[0].data();
    outputs.forEach((output) => output.delete());
    return values;
  }

  async outputs() {
    const answers = [];
    for (let index = 0; index < this.count; index++) {
      this.setSample(index);
      answers.push(await this.output());
    }
    return new Blob(answers);
  }

  /* Milliseconds that `count` invocations take together. */
  async timed(count) {
    const start = performance.now();
    for (let number = 0; number < count; number++) {
      const outputs = await this.compiled.run(this.input);
      for (const output of outputs) output.delete();
    }
    return performance.now() - start;
  }

  /* Invoke for so many milliseconds; returns the fewest that an invocation took, over `count` of them. */
  async warmUp(milliseconds, count) {
    let least = Infinity;
    for (const start = performance.now(); performance.now() - start < milliseconds; ) {
      least = Math.min(least, (await this.timed(count)) / count);
    }
    return least;
  }

  /* Milliseconds of fetching and compiling again, each time in place of the one that was there. */
  async reload() {
    this.compiled.delete();
    await pause(); // the threads of a deleted model come back only then, and there are few
    const start = performance.now();
    this.compiled = await loadAndCompile(this.url, this.options);
    return performance.now() - start;
  }

  /* The file's size as it was sent, and as it is. */
  async transfer(encoding) {
    const url = `${this.url}.${encoding}`;
    await (await fetch(url)).arrayBuffer();
    const [entry] = performance.getEntriesByName(new URL(url, location).href);
    return [entry.encodedBodySize, entry.decodedBodySize];
  }
}

/* Let the browser do what it put off, so that it does not do it within a batch. */
const pause = () => new Promise((resolve) => setTimeout(resolve));

/* The smallest step of the clock that is seen, in milliseconds. */
function clockStep() {
  let step = Infinity;
  for (let seen = 0, last = performance.now(); seen < 50; ) {
    const now = performance.now();
    if (now === last) continue;
    step = Math.min(step, now - last);
    last = now;
    seen++;
  }
  return step;
}

/* The models take turns, and the one that goes first alternates, as in the host runner. */
async function timeRounds(models, request, step) {
  const plans = [];
  for (const model of models) {
    // Looked at twice: how many invocations make a batch is not known before.
    const rough = await model.warmUp(request.settle_ms / 2, 1);
    const some = Math.max(1, Math.ceil((request.clock_steps * step) / Math.max(rough, step)));
    const each = await model.warmUp(request.settle_ms / 2, some);
    const batch = Math.max(1, Math.ceil((request.clock_steps * step) / each));
    const batches = Math.max(request.least_batches, Math.floor(request.round_ms / (each * batch)));
    plans.push({model, batch, batches, rounds: []});
  }
  const turns = [];
  for (let number = 0; number < request.rounds; number++) {
    for (const plan of number % 2 === 0 ? plans : plans.toReversed()) {
      turns.push(plan.model.index);
      plan.model.setSample(number);
      await pause();
      await plan.model.warmUp(request.warm_up_ms, 1);
      const times = [];
      for (let index = 0; index < plan.batches; index++) times.push(await plan.model.timed(plan.batch));
      plan.rounds.push(times);
    }
  }
  return {turns, plans: plans.map(({batch, rounds}) => ({batch, rounds}))};
}

async function post(name, body) {
  await fetch(`/result/${name}`, {method: 'POST', body});
}

/* Shown on the page, and told to the server, which names it when the page does not get on. */
async function state(text) {
  document.getElementById('state').textContent = text;
  await post('state', text);
}

async function answer(request) {
  const start = performance.now();
  await state('loading LiteRT.js');
  const runtime = await loadLiteRt(`${RUNTIME}core/wasm/`, {threads: request.threads > 1});
  const report = {runtime_load_ms: performance.now() - start, models: []};
  // Each model keeps its threads but the page's own, out of as many as there are processors. More would wait for ever.
  const available = runtime.liteRtWasm.getThreadCount();
  const most = Math.min(available, Math.floor(available / Math.max(1, request.models)) + 1);
  if (request.threads > most) return {error: {threads: most}};
  const options = {accelerator: request.accelerator, cpuOptions: {numThreads: request.threads}};
  const models = [];
  for (let index = 0; index < request.models; index++) {
    await state(`loading model ${index + 1} of ${request.models}`);
    const model = new Model(index, options);
    const loads = [];
    try {
      await model.load();
      for (let number = 0; request.rounds && number < request.loads; number++) loads.push(await model.reload());
      if (request.outputs) await post(`${index}.outputs`, await model.outputs());
      else if (!request.rounds) await model.outputs();
    } catch (error) {
      return {error: {model: index, message: [String(error?.message ?? error), ...complaints].join('; ')}};
    }
    models.push(model);
    const [{dtype, shape}] = model.compiled.getOutputDetails();
    report.models.push({
      output: {dtype, shape: [...shape]},
      first_answer_ms: model.firstAnswerMs,
      load_ms: loads,
      accelerated: model.compiled.isFullyAccelerated,
    });
  }
  if (request.rounds) {
    await state('timing');
    report.clock_step_ms = clockStep();
    const {turns, plans} = await timeRounds(models, request, report.clock_step_ms);
    report.turns = turns;
    for (const [index, model] of models.entries()) {
      const sizes = {gzip: await model.transfer('gzip'), br: await model.transfer('br')};
      Object.assign(report.models[index], plans[index], sizes);
    }
    const entries = performance.getEntriesByType('resource');
    const sent = entries.filter((entry) => new URL(entry.name).pathname.startsWith(RUNTIME));
    report.runtime_bytes = sent.reduce((sum, entry) => sum + entry.encodedBodySize, 0);
  }
  return report;
}

let report;
try {
  report = await answer(await (await fetch('/request.json')).json());
} catch (error) {
  report = {error: {page: String(error?.stack ?? error)}};
}
await state('done');
await post('report', JSON.stringify(report));
