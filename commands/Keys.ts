/**
 * Runs `npm run keys`.
 */
import { keys } from './KeysCommand.ts'

process.exitCode = await keys(process.argv.slice(2), process.cwd(), process)
