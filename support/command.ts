/**
 * Modules of this project for processes of their own, compiled once: tsx would compile them for each of many runs.
 */
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { join, parse } from 'node:path'
import { tmpdir } from 'node:os'
import { build } from 'esbuild'

/**
 * Compiles a module, such as a command of `npm run`.
 * @param file its path, `commands/Keys.ts`
 * @returns the words to run it with, before its arguments: Node and the compiled file
 */
export async function compileModule(file: string): Promise<{ command: string[]; remove: () => void }> {
  const folder = mkdtempSync(join(tmpdir(), 'auth-command-'))
  symlinkSync(join(process.cwd(), 'node_modules'), join(folder, 'node_modules'), 'junction')
  const outfile = join(folder, `${parse(file).name}.mjs`)
  await build({
    entryPoints: [file],
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    outfile,
  })
  return { command: [process.execPath, outfile], remove: () => rmSync(folder, { recursive: true }) }
}
