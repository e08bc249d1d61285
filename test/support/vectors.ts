/**
 * Published test vectors, where they lie beside the clone; the tests that use them are extra and are skipped
 * elsewhere.
 */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

/** @returns the text of a vector file, or undefined where there is none */
export function vectors(file: string): string | undefined {
  try {
    return readFileSync(resolve(__dirname, '../../../shared/vectors', file), 'utf8')
  } catch {
    return undefined
  }
}
