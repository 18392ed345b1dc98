# Exchanges messages between two processes of a process-isolated container. Needs Docker for Windows containers.
#   ci\windows\container.ps1 -Echo target\release\examples\echo.exe
param([Parameter(Mandatory)] [string] $Echo)
$ErrorActionPreference = 'Stop'
$folder = Split-Path (Resolve-Path $Echo).Path
$image = 'mcr.microsoft.com/windows/servercore:ltsc2022'
foreach ($name in 'ci.container', 'Global\ci.container') {
    # The client waits until there is a server. The container's exit code is the server's.
    $both = "start /b C:\xshm\echo.exe answer $name 20000 & C:\xshm\echo.exe serve $name 20000"
    docker run --rm '--isolation=process' --volume "${folder}:C:\xshm" $image cmd /c $both
    if ($LASTEXITCODE -ne 0) { throw "the container ended with $LASTEXITCODE for the name $name" }
}
