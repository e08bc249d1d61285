/**
 * Measuring beside others on a noisy machine: samples of all candidates are taken in turn, so that a slow moment
 * meets all of them, and medians are compared with each other, never with a time of another day.
 */
/**
 * Takes one sample of each candidate a round; every other round goes backwards.
 * @param candidates each gives one sample, in milliseconds
 */
export async function interleave<Name extends string>(
  rounds: number,
  candidates: Record<Name, () => number | Promise<number>>,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(candidates) as Name[]
  const samples = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Name, number[]>
  for (let round = 0; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      samples[name].push(await candidates[name]())
    }
  }
  return samples
}

/** Milliseconds that some work takes. */
export async function timed(work: () => unknown): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}

/** @param share of the samples that lie below: 0.5 is the median */
export function percentile(samples: number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b)
  const position = (sorted.length - 1) * share
  const [below, above] = [sorted[Math.floor(position)], sorted[Math.ceil(position)]]
  if (below === undefined || above === undefined) throw new Error('There are no samples.')
  return below + (above - below) * (position % 1)
}

export const median = (samples: number[]) => percentile(samples, 0.5)

/** Median of the ratios within each round: what slowed a whole round down divides out. */
export const ratio = (samples: number[], peer: number[]) =>
  median(samples.map((sample, round) => sample / peer[round]!))

/** The same for differences. */
export const difference = (samples: number[], peer: number[]) =>
  median(samples.map((sample, round) => sample - peer[round]!))

/** Prints rows in columns, the first to the left and the others to the right. */
export function printTable(rows: string[][]): void {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
  for (const row of rows) {
    const cells = row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!),
    )
    console.log(cells.join('  '))
  }
}

/** Prints a limit and whether it holds. A benchmark that could measure ends with code 0 either way. */
export function printLimit(what: string, value: number, limit: number, unit = ''): void {
  printResult(value <= limit ? 'ok  ' : 'over', what, value, `limit ${limit}${unit}`, unit)
}

/** The same for what should not be less. */
export function printLeast(what: string, value: number, least: number, unit = ''): void {
  printResult(value >= least ? 'ok  ' : 'less', what, value, `at least ${least}${unit}`, unit)
}

function printResult(verdict: string, what: string, value: number, bound: string, unit: string): void {
  const digits = Number.isInteger(value) ? 0 : 2
  console.log(`${verdict}  ${what}: ${value.toFixed(digits)}${unit} (${bound})`)
}
