// The person in front of the console: Chromium, driven by Playwright. The first argument is what to
// do, the second, in JSON, where the relay is. What it prints is read by console.rs.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { createInterface } from "node:readline/promises";

// Unlike `import`, it looks where NODE_PATH says.
const require = createRequire(import.meta.url);
const { chromium } = require("playwright-core");

const LIMIT_MS = 60_000;
const [scenario, given] = [process.argv[2], JSON.parse(process.argv[3])];
const origin = `http://${given.address}`;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});

/** Opens the console in a fresh browser. What it complains about is kept. */
async function open({ width = 1280, scheme = "light", motion = "no-preference", tolerated = () => false, ...more } = {}) {
  const context = await browser.newContext({
    viewport: { width, height: 800 },
    colorScheme: scheme,
    reducedMotion: motion,
    ...more,
  });
  context.setDefaultTimeout(LIMIT_MS);
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(`error: ${error}`));
  page.on("console", (message) => {
    if (message.type() !== "log" && !tolerated(message)) {
      complaints.push(`${message.type()}: ${message.text()} ${message.location().url}`);
    }
  });
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== origin) {
      complaints.push(`a request to ${request.url()}`);
    }
  });
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective}`));
  });
  await page.goto(`${given.url ?? origin}/console`);
  return { page, complaints };
}

/** Waits until something is so. `look` gives undefined as long as it is not. */
async function until(what, look) {
  const start = Date.now();
  for (;;) {
    const found = await look();
    if (found !== undefined) {
      return found;
    }
    assert.ok(Date.now() - start < LIMIT_MS, `it never came true: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function textIs(page, selector, wanted) {
  return until(`${selector} is ${wanted}`, async () => {
    const text = await page.locator(selector).textContent();
    return (wanted instanceof RegExp ? wanted.test(text) : text === wanted) ? text : undefined;
  });
}

/** Waits for a reading that began after now. */
async function nextReading(page) {
  const readings = () => page.evaluate(() => Number(document.getElementById("main").dataset.readings ?? 0));
  const now = await readings();
  await until("two more readings", async () => ((await readings()) >= now + 2 ? true : undefined));
}

/** Every number that names its metric is that of /metrics, read here and without the page. */
async function numbersAreThoseOfMetrics(page) {
  const response = await fetch(`${origin}/metrics`);
  assert.equal(response.status, 200);
  const series = (await response.text())
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => {
      const [, name, labels, value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
      return { name, labels: pairs(labels ?? "", /(\w+)="([^"]*)"/g), value: Number(value) };
    });
  const shown = await page.locator("[data-metric]").evaluateAll((nodes) =>
    nodes.map((node) => ({ metric: node.dataset.metric, text: node.textContent })),
  );
  for (const { metric, text } of shown) {
    const [, name, , list] = /^(\w+)(\{(.*)\})?$/.exec(metric);
    const wanted = pairs(list ?? "", /(\w+)((?:=|!~)"[^"]*")/g);
    const found = series.filter(
      (one) =>
        one.name === name &&
        [...wanted].every(([label, test]) => {
          const [, how, value] = /^(=|!~)"(.*)"$/.exec(test);
          const own = one.labels.get(label) ?? "";
          return how === "=" ? own === value : !value.split("|").includes(own);
        }),
    );
    const sum = found.reduce((sum, { value }) => sum + value, 0);
    const digits = text.replaceAll(",", "").match(/\d+/)?.[0];
    if (text === "–") {
      assert.deepEqual(found, [], `${metric} is shown as nothing`);
    } else if (text === "Runs out today") {
      assert.equal(Math.floor(sum), 0, metric);
    } else {
      assert.equal(Number(digits), Math.abs(Math.floor(sum)), metric);
    }
  }
  return new Set(shown.map(({ metric }) => metric));
}

function pairs(text, pattern) {
  return new Map([...text.matchAll(pattern)].map(([, name, value]) => [name, value]));
}

/** Sends as a program does. */
async function send(fields) {
  await fetch(`${origin}/send_notification`, { method: "POST", body: new URLSearchParams(fields) });
}

/** What a card shows, part by part. */
function cards(page, list) {
  return page.locator(`${list} > li`).evaluateAll((nodes) =>
    nodes.map((node) => ({
      head: [...node.querySelector(".card-head").children].map((child) => child.textContent),
      text: node.innerText,
    })),
  );
}

async function tile(page, id) {
  const verdict = await page.locator(`#${id} .verdict`).textContent();
  const detail = await page.locator(`#${id} .detail`).textContent();
  return [verdict, detail];
}

/** Nothing sticks out to the right. */
async function fits(page) {
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= room, `${wide} px wide in ${room}`);
}

/** axe-core finds nothing, contrast included. */
async function isAccessible(page) {
  await page.evaluate(require("axe-core").source);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  assert.deepEqual(found, []);
}

const scenarios = {
  /** Looks at everything without a hand on it; then messages go out. */
  async sight() {
    const { page, complaints } = await open();
    await textIs(page, "#state", "Ready");
    assert.match(await page.locator("#about").textContent(), /^version \S+ · up .* · read \d\d:\d\d:\d\d$/);
    assert.equal(await page.title(), "2 applications to look at – Pushlet");

    assert.deepEqual(await tile(page, "tile-apple"), ["Answers, and refuses", "It refuses the credential of news."]);
    const [google, when] = await tile(page, "tile-google");
    assert.equal(google, "Answered when last asked");
    assert.match(when, /^Last accepted a message .+\.$/);
    const [certificate, whose] = await tile(page, "tile-certificate");
    assert.equal(certificate, "5 days left");
    assert.match(whose, /^shop, \w+ \d+, \d+\. Then news, 199 days left\.$/);
    const [failure, why] = await tile(page, "tile-failure");
    assert.equal(failure, "BadCertificate");
    assert.match(why, /^news, .+, by Apple\. Apple does not accept the certificate\. Make a new push certificate/);

    const apps = await cards(page, "#application-list");
    assert.deepEqual(
      apps.map(({ head }) => head),
      [
        ["news", "Refused by Apple"],
        ["shop", "5 days left"],
        ["android", "Last message refused"],
        ["chat", "Good"],
      ],
    );
    assert.equal(await page.locator("#application-count").textContent(), "4 applications, 2 need you");
    assert.match(apps[1].text, /the certificate runs out in 5 days; register a new one/);
    assert.match(apps[1].text, /Apple: com\.example\.shop in production, certificate until \w+ \d+, \d+/);
    assert.match(apps[3].text, /Apple: com\.example\.chat in development, signing key/);
    assert.match(apps[2].text, /Google: project demo-project/);

    const failures = await cards(page, "#failure-list");
    assert.deepEqual(failures.map(({ head }) => head.slice(0, 2)).sort(), [
      ["android", "NotRegistered"],
      ["news", "BadCertificate"],
      ["shop", "<img src=x onerror=alert(1)>"],
    ]);
    const odd = failures.find(({ head }) => head[0] === "shop");
    assert.match(odd.text, /is a reason that this console does not know: look it up in Apple's page/);
    assert.match(odd.text, /The relay said: apple refused the message: <img src=x/);
    const reasons = await cards(page, "#reason-list");
    assert.deepEqual(reasons.map(({ head }) => head).sort(), [
      ["1", "BadCertificate", "Apple, rejected"],
      ["1", "NotRegistered", "Google, rejected"],
      ["1", "Unregistered", "Apple, rejected"],
      ["1", "other", "Apple, rejected"],
    ]);

    const metrics = await numbersAreThoseOfMetrics(page);
    for (const wanted of given.numbers) {
      assert.ok(metrics.has(wanted), `${wanted} is not shown`);
    }

    for (let sent = 0; sent < 3; sent += 1) {
      await send({ application_id: "shop", device_token: given.token, alert: "x" });
    }
    await textIs(page, '#totals [data-outcome="accepted"]', "8");
    await textIs(page, "#tile-apple .verdict", "Answers, and refuses");
    const rate = await page.locator("#rates svg[role=img]").getAttribute("aria-label");
    assert.match(rate, /^Sends per second: accepted [\d.]+ \/s, rejected 0 \/s, failed 0 \/s$/);
    const latency = await page.locator("#latencies svg[role=img]").getAttribute("aria-label");
    assert.match(latency, /^Time to the answer: Apple, median [\d.]+ (ms|s), Apple, 95 % [\d.]+ (ms|s)$/);
    await nextReading(page);
    await numbersAreThoseOfMetrics(page);

    await page.locator("#filter").fill("refused by");
    assert.deepEqual((await cards(page, "#application-list")).map(({ head }) => head[0]), ["news"]);
    await textIs(page, "#application-count", "4 applications, 2 need you, 1 found");
    await page.locator("#filter").fill("com.example.chat");
    assert.deepEqual((await cards(page, "#application-list")).map(({ head }) => head[0]), ["chat"]);
    await page.locator("#filter").fill("");
    await page.locator('[data-application="chat"] button').click();
    assert.equal(await page.locator("#test-application").inputValue(), "chat");
    assert.equal(await page.evaluate(() => document.activeElement.id), "test-token");
    assert.deepEqual(complaints, []);
  },

  /** Four ways to look: wide and narrow, light and dark. */
  async looks() {
    for (const width of [1280, 360]) {
      for (const scheme of ["light", "dark"]) {
        const { page, complaints } = await open({ width, scheme, motion: scheme === "dark" ? "reduce" : "no-preference" });
        await textIs(page, "#state", "Ready");
        await page.locator("#test-application").fill("shop");
        await page.locator("#test-token").fill(given.dead);
        await page.locator("#test-send").click();
        await textIs(page, "#answer-verdict", /^Not accepted/);
        await nextReading(page);

        await fits(page);
        await isAccessible(page);
        const [ground, motion] = await page.evaluate(() => {
          const body = getComputedStyle(document.body).backgroundColor;
          return [body, getComputedStyle(document.documentElement).scrollBehavior];
        });
        const [red] = ground.match(/\d+/g).map(Number);
        assert.ok(scheme === "dark" ? red < 60 : red > 200, ground);
        assert.equal(motion, scheme === "dark" ? "auto" : "smooth");
        await page.screenshot({ path: `${given.pictures}/${width}-${scheme}.png`, fullPage: true });
        assert.deepEqual(complaints.filter((complaint) => !complaint.includes("/send_notification")), []);
        await page.context().close();
      }
    }
  },

  /** Sends with the keyboard alone, behind a log-in. */
  async keyboard() {
    const { page, complaints } = await open({
      httpCredentials: { username: given.username, password: given.password },
      tolerated: (message) => message.location().url === `${origin}/send_notification`,
    });
    await textIs(page, "#state", "Ready");
    const focused = () =>
      page.evaluate(() => {
        const { id, textContent } = document.activeElement;
        const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
        return { name: id || textContent, isSeen: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2 };
      });
    const tab = async () => {
      await page.keyboard.press("Tab");
      const { name, isSeen } = await focused();
      assert.ok(isSeen, `the focus is not seen on ${name}`);
      return name;
    };

    assert.equal(await tab(), "Skip to the content");
    await page.keyboard.press("Enter");
    assert.equal((await focused()).name, "main");
    const order = [];
    while (order.at(-1) !== "test-application") {
      order.push(await tab());
      assert.ok(order.length < 20, order.join());
    }
    assert.deepEqual(order, ["filter", "Send a test", "test-application"]);
    await page.keyboard.type("shop");
    assert.equal(await tab(), "test-type");
    await page.keyboard.press("ArrowDown");
    assert.equal(await tab(), "test-token");
    await page.keyboard.type(given.token);
    assert.equal(await tab(), "test-title");
    await page.keyboard.type("Greetings");
    assert.equal(await tab(), "test-alert");
    await page.keyboard.type("Hëllo & <b>");
    assert.equal(await tab(), "test-data");
    await page.keyboard.type('{"order": 17}');
    assert.equal(await tab(), "test-send");
    await page.keyboard.press("Enter");

    await textIs(page, "#answer-verdict", "Accepted by Apple.");
    assert.equal((await focused()).name, "test-send");
    const facts = await answerFacts(page);
    assert.equal(facts.status, "200 OK");
    assert.match(facts.time, /^[\d,]+ ms$/);
    assert.equal(await page.locator("#answer-body").textContent(), '{"response":"ok"}');

    await page.keyboard.press("Shift+Tab");
    for (let back = 0; back < 3; back += 1) {
      await page.keyboard.press("Shift+Tab");
    }
    assert.equal((await focused()).name, "test-token");
    await page.keyboard.type(given.dead);
    await page.keyboard.press("Enter");

    await textIs(page, "#answer-verdict", /^Not accepted: the device token is dead since/);
    const gone = await answerFacts(page);
    assert.equal(gone.status, "410 Gone");
    const body = JSON.parse(await page.locator("#answer-body").textContent());
    assert.deepEqual([body.error, body.reason], ["device_token_unregistered", "Unregistered"]);
    const advice = "The app was removed from the phone, or has a new token. Delete this one.";
    await textIs(page, "#answer-advice", advice);
    await textIs(page, "#failure-list .advice", advice);
    await textIs(page, "#failure-list h4", "Unregistered");
    assert.equal((await focused()).name, "test-token");
    assert.deepEqual(complaints, []);
    console.log(JSON.stringify({ accepted: facts["apns-id"], dead: body.apns_id }));
  },

  /** The relay goes away and comes back. */
  async gone() {
    const { page } = await open();
    await textIs(page, "#state", "Ready");
    console.log("stop");
    await lines.next();
    // As if somebody came back to the page, which then asks at once.
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await textIs(page, "#state", "Draining: it stops after what is in flight");
    assert.equal(await page.title(), "Draining – Pushlet");
    await textIs(page, "#state", "Does not answer");
    const sentence = await page.locator("#trouble-text").textContent();
    assert.match(sentence, /^The relay does not answer: .+\. It was draining when .+, so it has been stopped\. What follows is from /);
    assert.ok(await page.locator("#trouble").isVisible());
    assert.equal(await page.title(), "Does not answer – Pushlet");
    console.log("start");
    await lines.next();
    await page.locator("#ask-again").click();
    await textIs(page, "#state", "Ready");
    assert.ok(!(await page.locator("#trouble").isVisible()));
  },

  /** Apple and Google are gone. */
  async silence() {
    const { page, complaints } = await open();
    await textIs(page, "#state", "Ready");
    const apple = ["Does not answer", "No answer to the last message of shop."];
    assert.deepEqual(await tile(page, "tile-apple"), apple);
    const google = ["Does not answer", "No answer to the last message of (gcm_api_key)."];
    assert.deepEqual(await tile(page, "tile-google"), google);
    const apps = await cards(page, "#application-list");
    assert.deepEqual(
      apps.map(({ head }) => head),
      [
        ["shop", "No answer from Apple"],
        ["(gcm_api_key)", "No answer from Google"],
      ],
    );
    assert.match(apps[0].text, /check network and DNS of the relay, then Apple's system status/);
    assert.match(apps[1].text, /Google: all who send with a gcm_api_key and no application/);
    assert.equal(await page.locator("#test-application").inputValue(), "shop");
    await numbersAreThoseOfMetrics(page);
    assert.deepEqual(complaints, []);
  },

  /** A thousand applications. */
  async many() {
    const { page, complaints } = await open();
    await textIs(page, "#application-count", "1,000 applications, none needs you, 50 shown");
    assert.equal(await page.locator("#application-list > li").count(), 50);
    await page.locator("#more-applications").click();
    assert.equal(await page.locator("#application-list > li").count(), 100);
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Send a test through app-050");
    await page.locator("#filter").fill("APP-777");
    await textIs(page, "#application-count", "1,000 applications, none needs you, 1 found");
    assert.deepEqual((await cards(page, "#application-list")).map(({ head }) => head[0]), ["app-777"]);
    await nextReading(page);
    assert.equal(await page.locator("#application-list > li").count(), 1);
    assert.deepEqual(complaints, []);
  },
};

async function answerFacts(page) {
  const facts = await page.locator("#answer-facts > div").evaluateAll((rows) =>
    rows.map((row) => [row.querySelector("dt").textContent, row.querySelector("dd").textContent]),
  );
  return Object.fromEntries(facts);
}

try {
  await scenarios[scenario]();
} finally {
  await browser.close();
}
process.exit();
