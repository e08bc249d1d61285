/**
 * Creates the secrets file of a stage:
 *
 *   npm run secrets -- prod
 */
import { fileOf, generateSecrets, isStage, LOCAL_STAGE } from '../plugin/Secrets.ts'

const [stage = ''] = process.argv.slice(2)
const file = fileOf(stage)

if (!isStage(stage) || stage === LOCAL_STAGE) {
  process.stderr.write('Name a stage other than dev: npm run secrets -- prod\n')
  process.exitCode = 1
} else if (generateSecrets(process.cwd(), file)) {
  process.stdout.write(
    `Created ${file} (git-ignored). Fill in DB, SMTP_URL and MAIL_FROM, and keep a copy in a safe place. Then deploy: npx sls deploy --stage ${stage}\n`,
  )
} else {
  process.stderr.write(
    `${file} already exists. Its keys sign your users in. If you really want new ones, delete it yourself first.\n`,
  )
  process.exitCode = 1
}
