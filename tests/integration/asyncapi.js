// Prints what AsyncAPI's own parser says of the document on standard input, as JSON.
const { Parser } = require("@asyncapi/parser");

new Parser().parse(require("fs").readFileSync(0, "utf8")).then(
  ({ diagnostics }) => console.log(JSON.stringify(diagnostics)),
);
