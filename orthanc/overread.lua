-- Tells Overread that a series or a study is stable: a hint that makes it look sooner.
--
-- Works from Orthanc 1.10.1 on. Address and secret stand in Orthanc's configuration, under
-- "Overread" (see orthanc.json and README.md beside this file). Nothing about the patient is
-- sent, only Orthanc's own identifier; Overread asks Orthanc for the rest. A call that fails
-- loses nothing: Overread reads Orthanc's change log as well.
--
-- All scripts of an Orthanc share one state, where the last definition of a function wins.
-- The ones that were there before are called too; so name this script last in "LuaScripts".

local settings = GetOrthancConfiguration()["Overread"] or {}
local before_study = OnStableStudy
local before_series = OnStableSeries

local function tell(event, id, tags)
  local url = settings["WebhookUrl"]
  if url == nil or url == "" then
    return
  end
  -- What Overread wrote itself is no news to it.
  if tags["Manufacturer"] == "Overread" then
    return
  end
  local body = DumpJson({ ["event"] = event, ["orthancId"] = id }, true)
  local headers = {
    ["Content-Type"] = "application/json",
    ["Authorization"] = "Bearer " .. (settings["WebhookSecret"] or "")
  }
  if HttpPost(url, body, headers) == nil then
    print("Overread was not told about " .. event .. " " .. id .. "; it will read the change log")
  end
end

function OnStableSeries(id, tags, metadata)
  if before_series ~= nil then
    before_series(id, tags, metadata)
  end
  tell("StableSeries", id, tags)
end

function OnStableStudy(id, tags, metadata)
  if before_study ~= nil then
    before_study(id, tags, metadata)
  end
  tell("StableStudy", id, tags)
end
