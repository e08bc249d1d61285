/**
 * Whether two samples come from one distribution, whatever its shape: the Mann-Whitney U test (Wilcoxon's rank sum),
 * two-sided, with the normal approximation, which is good from eight or so of each.
 * @see https://doi.org/10.1214/aoms/1177730491 Mann and Whitney 1947
 */

/** @returns how many pairs have the larger value in `a`, and the p-value; `corrected` for continuity, as is usual */
export function mannWhitney(a: number[], b: number[], corrected = true): { u: number; p: number } {
  const all = [...a, ...b].toSorted((x, y) => x - y)
  // Those that are equal share the middle of their ranks.
  const rank = (value: number) => (all.indexOf(value) + all.lastIndexOf(value)) / 2 + 1
  const u = a.reduce((sum, value) => sum + rank(value), 0) - (a.length * (a.length + 1)) / 2

  const n = all.length
  const ties = all.reduce((sum, value) => sum + (all.lastIndexOf(value) - all.indexOf(value) + 1) ** 2 - 1, 0)
  const variance = ((a.length * b.length) / 12) * (n + 1 - ties / (n * (n - 1)))
  const distance = Math.abs(u - (a.length * b.length) / 2) - (corrected ? 0.5 : 0)
  return { u, p: variance === 0 ? 1 : Math.min(1, twoTails(distance / Math.sqrt(variance))) }
}

/** P(|Z| > z) of a normal distribution, right to 1e-7 (Abramowitz and Stegun, 7.1.26). */
function twoTails(z: number): number {
  const t = 1 / (1 + (0.327_591_1 * z) / Math.SQRT2)
  const coefficients = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592]
  return coefficients.reduce((sum, coefficient) => (sum + coefficient) * t, 0) * Math.exp((-z * z) / 2)
}
