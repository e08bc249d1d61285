/**
 * Makes the secrets of a stage:
 *
 *   npm run secrets -- prod
 */
import { fileOf, generateSecrets, isStage, LOCAL_STAGE } from '../plugin/Secrets.ts'

const [stage = ''] = process.argv.slice(2)
const file = fileOf(stage)

if (!isStage(stage) || stage === LOCAL_STAGE) {
  process.stderr.write('Name the stage: npm run secrets -- prod\n')
  process.exitCode = 1
} else if (generateSecrets(process.cwd(), file)) {
  process.stdout.write(
    `Made ${file} (git-ignored). Fill in DB, SMTP_URL and MAIL_FROM, keep a copy in a safe place, then: npx sls deploy --stage ${stage}\n`,
  )
} else {
  process.stderr.write(
    `${file} is there already. Its keys sign your users in: remove it yourself if you mean to.\n`,
  )
  process.exitCode = 1
}
