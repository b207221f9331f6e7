-- One script for both systems, so that the generator costs the same: each thread writes or reads
-- random keys of a fixed set on one node, and the threads go round the nodes.
--
-- Environment: BENCH_NODES host:port,…; BENCH_SYSTEM sadik|etcd; BENCH_OPERATION put|get|get-one;
-- BENCH_KEYS how many keys; BENCH_BYTES how long a value is.

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
local system = os.getenv("BENCH_SYSTEM")
local operation = os.getenv("BENCH_OPERATION")
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

-- Everything is made before the run: what the generator does per request is a look-up.
local requests = {}

local function request_of(key)
  if system == "sadik" then
    local path = "/v1/kv/bench/" .. key
    if operation == "put" then return wrk.format("PUT", path, nil, value) end
    return wrk.format("GET", path .. (operation == "get-one" and "?r=1" or ""))
  end
  local headers = { ["Content-Type"] = "application/json" }
  local name = base64(key)
  if operation == "put" then
    local body = string.format('{"key":"%s","value":"%s"}', name, base64(value))
    return wrk.format("POST", "/v3/kv/put", headers, body)
  end
  local serializable = operation == "get-one" and ',"serializable":true' or ""
  return wrk.format("POST", "/v3/kv/range", headers, string.format('{"key":"%s"%s}', name, serializable))
end

answered = 0
refused = 0

function init(args)
  math.randomseed(7 + number)
  for index = 0, keys - 1 do requests[index] = request_of(string.format("key-%08d", index)) end
end

function request()
  return requests[math.random(0, keys - 1)]
end

function response(status, headers, body)
  answered = answered + 1
  if status ~= 200 and status ~= 204 then refused = refused + 1 end
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
