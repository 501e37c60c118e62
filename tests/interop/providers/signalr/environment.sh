# What ASP.NET Core needs around it; `cache` is where it was set up.
export LD_LIBRARY_PATH=$cache/lib HOME=$cache/home
export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1
