/**
 * Whole numbers that arrive as text: settings and query parameters.
 */
import * as z from 'zod/mini'

/**
 * A schema of the decimal digits of a number within bounds, which gives the number.
 * @param digits how many are read at the most, leading zeros counted
 */
export function wholeNumber(minimum: number, maximum: number, digits: number) {
  const message = `must be a whole number from ${minimum} to ${maximum}`
  return z.pipe(
    z.string().check(z.regex(new RegExp(`^\\d{1,${digits}}$`), message)),
    z
      .pipe(z.transform(Number), z.number())
      .check(z.refine((value) => value >= minimum && value <= maximum, message)),
  )
}
