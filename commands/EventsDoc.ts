/**
 * Writes docs/events.md from the catalogue of api/Events.ts:
 *
 *   npm run docs
 */
import { writeFileSync } from 'node:fs'
import { format, resolveConfig } from 'prettier'
import { type EventName, events, fields, levels } from '../api/Events.ts'

const [file = 'docs/events.md'] = process.argv.slice(2)

const code = (text: string) => `\`${text}\``
const row = (...cells: string[]) => `| ${cells.join(' | ')} |`
const table = (head: string[], rows: string[][]) =>
  [row(...head), row(...head.map(() => '---')), ...rows.map((cells) => row(...cells))].join('\n')

const text = `# Events

<!-- Made by \`npm run docs\` from api/Events.ts; change it there. -->

The audit trail: what happens to an account or a session is one line of the log each, a JSON object, with a name in \`event\` that does not change:

\`\`\`json
{
  "level": "WARN",
  "message": "authn_token_reuse",
  "timestamp": "2026-01-31T12:00:00.000Z",
  "service": "auth-prod-refresh",
  "sampling_rate": 0,
  "event": "authn_token_reuse",
  "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
  "address": "192.0.2.1",
  "userId": "65f000000000000000000001",
  "sessionId": "oGcV8f4mT2qXbYh0s3JkLw",
  "usedGeneration": 3,
  "currentGeneration": 5
}
\`\`\`

Every line holds \`event\`, \`requestId\` (that of the answer, and of all other lines of the request), \`address\` (the IP address of the connection) and what the table says; what has a question mark is not always known. No line holds a password, a token, a code, a hash or an e-mail. A mail is sent by a function of its own: its lines carry the \`requestId\` of the request that it is for.

All that somebody with an account did, in CloudWatch Logs Insights, over the log groups of all functions:

\`\`\`
fields @timestamp, event, address, sessionId, requestId
| filter ispresent(event) and (userId = "65f000000000000000000001" or subjectId = "65f000000000000000000001")
| sort @timestamp
\`\`\`

\`info\` is everyday business, \`warn\` is what somebody may want to look for after an attack, and \`error\` is for the operator.

${table(
  ['event', 'level', 'when', 'holds'],
  Object.entries(events).map(([name, [when, holds]]) => [
    code(name),
    levels[name as EventName],
    when,
    holds.map(code).join(', '),
  ]),
)}

${table(
  ['field', 'is'],
  Object.entries(fields).map(([name, what]) => [code(name), what]),
)}
`

writeFileSync(file, await format(text, { parser: 'markdown', ...(await resolveConfig('docs/events.md')) }))
