/**
 * The two-sample test of the timings, against published values.
 */
import { mannWhitney } from '../support/mannWhitney.ts'

/** Daily ozone in New York, May and August 1973: R's `airquality`, without the days that were not measured. */
const MAY = [
  41, 36, 12, 18, 28, 23, 19, 8, 7, 16, 11, 14, 18, 14, 34, 6, 30, 11, 1, 11, 4, 32, 23, 45, 115, 37,
]
const AUGUST = [
  39, 9, 16, 78, 35, 66, 122, 89, 110, 44, 28, 65, 22, 59, 23, 31, 44, 21, 9, 45, 168, 73, 76, 118, 84, 85,
]
/** Permeability of the human chorioamnion at term and months before: Hollander and Wolfe 1973, page 69. */
const AT_TERM = [0.8, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
const BEFORE = [1.15, 0.88, 0.9, 0.74, 1.21]

test.each([
  {
    name: "SciPy's example of mannwhitneyu",
    samples: [
      [19, 22, 16, 29, 24],
      [20, 11, 17, 12],
    ],
    want: { u: 17, p: 0.111_346_886_533_140_41 },
  },
  {
    name: "R's example of wilcox.test, with ties",
    samples: [MAY, AUGUST],
    want: { u: 127.5, p: 0.000_120_8 },
  },
  {
    // One-sided there.
    name: "R's other example, not corrected",
    samples: [AT_TERM, BEFORE],
    corrected: false,
    want: { u: 35, p: 2 * 0.1103 },
  },
])('$name', ({ samples: [a, b], corrected, want }) => {
  const { u, p } = mannWhitney(a!, b!, corrected)
  expect(u).toBe(want.u)
  // Four digits are published of the last two.
  expect(p / want.p).toBeCloseTo(1, 3)
})

test('does not depend on which sample comes first', () => {
  expect(mannWhitney(AUGUST, MAY)).toEqual({ u: 26 * 26 - 127.5, p: mannWhitney(MAY, AUGUST).p })
})

test('finds no difference where there is none', () => {
  expect(mannWhitney([1, 2, 3], [1, 2, 3]).p).toBe(1)
  expect(mannWhitney([5, 5], [5, 5, 5]).p).toBe(1)
})
