-- One script for both systems, so that the generator costs the same: each thread writes or reads
-- random keys of a fixed set on one node, and the threads go round the nodes.
--
-- Environment: BENCH_NODES host:port,…; BENCH_SYSTEM sadik|etcd; BENCH_PREFIX of the keys;
-- BENCH_KEYS how many; BENCH_SPREAD uniform|hot|zipf; BENCH_BYTES how long a value is; BENCH_READS
-- how many of a hundred requests read; BENCH_ONE 1 if of one replica; BENCH_BATCH objects a request;
-- BENCH_CLOSE 1 for a new connection with each request.

local threads = 0
local nodes = {}
for node in string.gmatch(os.getenv("BENCH_NODES"), "[^,]+") do nodes[#nodes + 1] = node end

function setup(thread)
  local host, port = string.match(nodes[threads % #nodes + 1], "(.*):(%d+)")
  thread.addr = wrk.lookup(host, port)[1]
  thread:set("number", threads)
  threads = threads + 1
  everyone = everyone or {}
  everyone[threads] = thread
end

local keys = tonumber(os.getenv("BENCH_KEYS"))
local prefix = os.getenv("BENCH_PREFIX")
local spread = os.getenv("BENCH_SPREAD")
local system = os.getenv("BENCH_SYSTEM")
local reads = tonumber(os.getenv("BENCH_READS"))
local of_one = os.getenv("BENCH_ONE") == "1"
local batch = tonumber(os.getenv("BENCH_BATCH"))
local value = string.rep("v", tonumber(os.getenv("BENCH_BYTES")))
local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function base64(text)
  local out = {}
  for at = 1, #text, 3 do
    local a, b, c = string.byte(text, at, at + 2)
    local bits = a * 65536 + (b or 0) * 256 + (c or 0)
    for shift, wanted in ipairs({ true, true, b ~= nil, c ~= nil }) do
      local index = math.floor(bits / 64 ^ (4 - shift)) % 64 + 1
      out[#out + 1] = wanted and string.sub(alphabet, index, index) or "="
    end
  end
  return table.concat(out)
end

if os.getenv("BENCH_CLOSE") == "1" then wrk.headers["Connection"] = "close" end

-- Everything is made before the run: what the generator does per request is a look-up.
local getting, putting, chances = {}, {}, {}
local BATCHES = 64
local ZIPF = 0.99

local function name_of(index) return string.format("%s-%08d", prefix, index) end

local function sadik_request(index, is_get)
  local path = "/v1/kv/bench/" .. name_of(index)
  if is_get then return wrk.format("GET", path .. (of_one and "?r=1" or "")) end
  return wrk.format("PUT", path, nil, value)
end

local function etcd_operation(index, is_get)
  local name = base64(name_of(index))
  if not is_get then return string.format('{"key":"%s","value":"%s"}', name, base64(value)) end
  return string.format('{"key":"%s"%s}', name, of_one and ',"serializable":true' or "")
end

local function etcd_request(index, is_get)
  local headers = { ["Content-Type"] = "application/json" }
  return wrk.format("POST", is_get and "/v3/kv/range" or "/v3/kv/put", headers, etcd_operation(index, is_get))
end

-- A transaction of etcd takes no key twice, so a batch is a run of keys.
local function batch_request(is_get)
  local first, parts = math.random(0, keys - 1), {}
  for step = 0, batch - 1 do
    local index = (first + step) % keys
    if system == "sadik" then
      local more = is_get and "" or string.format(', "value_b64": "%s"', base64(value))
      parts[#parts + 1] = string.format(
        '{"op": "%s", "bucket": "bench", "key": "%s"%s}\n', is_get and "get" or "put", name_of(index), more)
    else
      parts[#parts + 1] = string.format('{"%s":%s}', is_get and "requestRange" or "requestPut", etcd_operation(index, is_get))
    end
  end
  if system == "sadik" then
    return wrk.format("POST", "/v1/batch", { ["Content-Type"] = "application/x-ndjson" }, table.concat(parts))
  end
  local body = '{"success":[' .. table.concat(parts, ",") .. "]}"
  return wrk.format("POST", "/v3/kv/txn", { ["Content-Type"] = "application/json" }, body)
end

local function draw_zipf()
  local low, high, point = 0, keys - 1, math.random()
  while low < high do
    local middle = math.floor((low + high) / 2)
    if chances[middle] < point then low = middle + 1 else high = middle end
  end
  return low
end

answered = 0
refused = 0

function init(args)
  math.randomseed(7 + number)
  local make = system == "sadik" and sadik_request or etcd_request
  if batch > 1 then
    for index = 0, BATCHES - 1 do
      getting[index], putting[index] = batch_request(true), batch_request(false)
    end
    return
  end
  local sum = 0
  for index = 0, keys - 1 do
    if reads > 0 then getting[index] = make(index, true) end
    if reads < 100 then putting[index] = make(index, false) end
    sum = sum + 1 / (index + 1) ^ ZIPF
    chances[index] = sum
  end
  for index = 0, keys - 1 do chances[index] = chances[index] / sum end
end

function request()
  local from = math.random(1, 100) <= reads and getting or putting
  if batch > 1 then return from[math.random(0, BATCHES - 1)] end
  if spread == "hot" then return from[0] end
  if spread == "zipf" then return from[draw_zipf()] end
  return from[math.random(0, keys - 1)]
end

function response(status, headers, body)
  answered = answered + 1
  local is_good = status == 200 or status == 204
  if batch > 1 and (string.find(body, '"status": [45]') or not string.find(body, "[{]")) then is_good = false end
  if not is_good then refused = refused + 1 end
end

function done(summary, latency, _)
  local count, bad = 0, 0
  for _, thread in ipairs(everyone) do
    count = count + thread:get("answered")
    bad = bad + thread:get("refused")
  end
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %f, "refused": %d, "broken": %d, "p50_ms": %f, "p99_ms": %f, "p999_ms": %f, "max_ms": %f}\n',
    count, summary.duration / 1e6, bad, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3, latency.max / 1e3))
end
