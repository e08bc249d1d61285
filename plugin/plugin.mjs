/** Lets the Serverless Framework, which loads JavaScript, load the plugin and the handlers, which are TypeScript. */
import { require } from 'tsx/cjs/api'

const load = (/** @type {string} */ file) => require(file, import.meta.url)

export default class extends load('./Plugin.ts').AuthPlugin {
  load = load
}
