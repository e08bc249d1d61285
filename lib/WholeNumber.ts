/**
 * Whole numbers that arrive as text, in settings and query parameters.
 */
import * as z from 'zod/mini'

/**
 * Creates a schema that accepts decimal digits and outputs the number.
 * @param minimum the smallest number, inclusive
 * @param maximum the largest number, inclusive
 * @param digits the most digits to read, including leading zeros
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
