/** The compiled messages of a language: see `texts-plugin.ts`. */
declare module "*.json?all" {
  const texts: import("./i18n.ts").Texts;
  export default texts;
}

/** Those of the first screen: see `first-texts.ts`. */
declare module "*.json?first" {
  const texts: import("./i18n.ts").Texts;
  export default texts;
}
