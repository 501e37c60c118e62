// Figures over the last two minutes, a sample a second, drawn as it is taken.

import { $, make, ms, number } from './words.js';

const SAMPLES = 120;
const INSET = 4;

const nice = (value, least) => {
  const top = Math.max(value, least);
  const power = 10 ** Math.floor(Math.log10(top));
  return [1, 2, 5, 10].find((factor) => factor * power >= top * 0.999) * power;
};

export const percentile = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * part) - 1)];

/** `lines`: [colour, whether filled] of each value of a sample; `bars`: only their sum. */
class Chart {
  samples = [];
  #hover;

  constructor(name, { lines, least, unit, bridge = 1, bars, words }) {
    Object.assign(this, { lines, least, unit, bridge, bars, words });
    this.canvas = $(`g-${name}`);
    this.label = $(`f-${name}`);
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    this.canvas.addEventListener('pointermove', ({ offsetX }) => this.#look(offsetX));
    this.canvas.addEventListener('pointerleave', () => this.#look());
  }

  /** A sample, or `undefined` where there is none, and what is said of all: [colour, text] of each part. */
  push(sample, said) {
    this.samples.push(sample);
    if (this.samples.length > SAMPLES) this.samples.shift();
    this.said = said;
    this.draw();
  }

  #look(x) {
    this.#hover = x;
    this.draw();
  }

  /** Texts in the colours of their lines. */
  #say(parts) {
    const text = parts.map(([, text]) => text).join(' · ');
    if (this.label.textContent === text) return;
    this.label.replaceChildren(...parts.flatMap(([className, text], i) => [i ? ' · ' : '', make('span', { className }, text)]));
    this.label.title = text;
  }

  draw() {
    const { canvas, samples, lines } = this;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width) return;
    const scale = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
    }
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(`--${name}`);
    const g = canvas.getContext('2d');
    g.setTransform(scale, 0, 0, scale, 0, 0);
    g.clearRect(0, 0, width, height);
    const sum = (sample) => (this.bars ? sample.reduce((a, b) => a + b, 0) : Math.max(...sample.filter((value) => value != null)));
    const top = nice(Math.max(0, ...samples.filter(Boolean).map(sum)), this.least);
    const gap = width / (SAMPLES - 1);
    const x = (i) => width - (samples.length - 1 - i) * gap;
    const y = (value) => height - 1 - (value / top) * (height - INSET - 1);

    g.fillStyle = colour('line');
    for (const part of [0, 0.5]) g.fillRect(0, Math.round(y(top * part)), width, 1);
    if (this.bars)
      samples.forEach((sample, i) => {
        if (!sample || !sum(sample)) return;
        g.fillStyle = colour(lines[0][0]);
        g.fillRect(x(i) - Math.max(2, gap - 1), y(sum(sample)), Math.max(2, gap - 1), height - 1 - y(sum(sample)));
      });
    else
      lines.forEach(([name, fills], line) => {
        let run = [];
        const flush = () => {
          if (!run.length) return;
          g.fillStyle = g.strokeStyle = colour(name);
          g.beginPath();
          run.forEach(([px, py]) => g.lineTo(px, py));
          if (run.length === 1) g.fillRect(run[0][0] - 2, run[0][1] - 1.5, 3, 3);
          g.lineWidth = 1.5;
          g.lineJoin = 'round';
          g.stroke();
          if (fills && run.length > 1) {
            g.lineTo(run.at(-1)[0], height);
            g.lineTo(run[0][0], height);
            g.globalAlpha = 0.14;
            g.fill();
            g.globalAlpha = 1;
          }
          run = [];
        };
        let last;
        samples.forEach((sample, i) => {
          if (sample?.[line] == null) return;
          // Of what is measured now and then, short gaps are bridged.
          if (i - last > this.bridge) flush();
          last = i;
          run.push([x(i), y(sample[line])]);
        });
        flush();
      });

    g.font = `11px ${style.fontFamily}`;
    g.fillStyle = colour('soft');
    g.fillText(this.unit(top), 2, 11);
    const at = this.#hover === undefined ? -1 : Math.round(samples.length - 1 - (width - this.#hover) / gap);
    const looked = samples[at];
    if (looked) {
      g.fillRect(Math.round(x(at)), 0, 1, height);
      const back = samples.length - 1 - at;
      this.#say([...this.words(looked), ['', `${back} s ago`]]);
    } else this.#say(this.said ?? []);
    canvas.setAttribute('aria-label', `${this.label.previousElementSibling.textContent}, the last two minutes: ${this.label.textContent || 'nothing yet'}`);
  }
}

const rate = (n) => (n >= 10 || Number.isInteger(n) ? number(n) : n.toFixed(1));

export const connections = new Chart('connections', { lines: [['accent', true]], least: 5, unit: number, words: ([n]) => [['', number(n)]] });
export const messages = new Chart('messages', {
  lines: [
    ['accent', true],
    ['ink', false],
  ],
  least: 5,
  unit: number,
  words: ([got, sent]) => [
    ['accent', `in ${rate(got)}`],
    ['ink', `out ${rate(sent)}`],
  ],
});
export const trips = new Chart('trips', {
  lines: [
    ['accent', false],
    ['soft', false],
  ],
  least: 1,
  unit: ms,
  bridge: 15,
  words: ([p50, p99]) => [
    ['accent', `p50 ${ms(p50)}`],
    ['', `p99 ${ms(p99)}`],
  ],
});
export const drops = new Chart('drops', { lines: [['bad', true]], least: 5, unit: number, bars: true, words: ([n]) => [['', number(n)]] });
export const redraw = () => [connections, messages, trips, drops].forEach((chart) => chart.draw());
