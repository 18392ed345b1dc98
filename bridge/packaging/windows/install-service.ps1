# Installs the bridge as a Windows service by WinSW. Run it in an elevated PowerShell:
#   .\install-service.ps1 -WinSW C:\Downloads\WinSW-x64.exe -Config C:\Config\xshm-bridge.toml
param(
    [Parameter(Mandatory)] [string] $WinSW,
    [Parameter(Mandatory)] [string] $Config,
    [string] $Bridge = (Join-Path $PSScriptRoot 'xshm-bridge.exe'),
    [string] $Folder = (Join-Path $env:ProgramFiles 'xshm-bridge')
)
$ErrorActionPreference = 'Stop'
& $Bridge run --check $Config
if ($LASTEXITCODE -ne 0) { throw "$Config is wrong" }
New-Item -ItemType Directory -Force $Folder | Out-Null
Copy-Item $Bridge (Join-Path $Folder 'xshm-bridge.exe')
Copy-Item $Config (Join-Path $Folder 'xshm-bridge.toml')
Copy-Item $WinSW (Join-Path $Folder 'xshm-bridge-service.exe')
Copy-Item (Join-Path $PSScriptRoot 'xshm-bridge.xml') (Join-Path $Folder 'xshm-bridge-service.xml')
$service = Join-Path $Folder 'xshm-bridge-service.exe'
& $service install
if ($LASTEXITCODE -ne 0) { throw 'WinSW could not install the service' }
& $service start
if ($LASTEXITCODE -ne 0) { throw 'WinSW could not start the service' }
