# Exchanges messages between this session and session 0, where Windows runs services. The task scheduler runs echo there, as the
# system. Needs an elevated PowerShell.
#   ci\windows\service.ps1 -Echo target\release\examples\echo.exe
param([Parameter(Mandatory)] [string] $Echo)
$ErrorActionPreference = 'Stop'
$program = (Resolve-Path $Echo).Path
$count = 20000
$log = Join-Path $env:TEMP 'xshm-service.log'
Write-Output "this process runs in session $((Get-Process -Id $PID).SessionId)"

function Start-AsSystem([string] $task, [string] $arguments) {
    $command = "/c `"`"$program`" $arguments > `"$log`" 2>&1`""
    $action = New-ScheduledTaskAction -Execute 'cmd.exe' -Argument $command
    $principal = New-ScheduledTaskPrincipal -UserId 'SYSTEM' -LogonType ServiceAccount -RunLevel Highest
    Register-ScheduledTask -TaskName $task -Action $action -Principal $principal -Force | Out-Null
    Start-ScheduledTask -TaskName $task
}

# Waits for the end of a task, removes it, and returns its exit code.
function Wait-Task([string] $task) {
    # SCHED_S_TASK_RUNNING, SCHED_S_TASK_HAS_NOT_RUN, SCHED_S_TASK_QUEUED.
    $pending = 0x41301, 0x41303, 0x41325
    $end = (Get-Date).AddSeconds(60)
    do {
        Start-Sleep -Milliseconds 200
        $result = (Get-ScheduledTaskInfo -TaskName $task).LastTaskResult
    } while ($result -in $pending -and (Get-Date) -lt $end)
    Unregister-ScheduledTask -TaskName $task -Confirm:$false
    Get-Content $log | Write-Host
    $result
}

# The server is a service. Its default access list admits administrators, and its client trusts the system by default.
Start-AsSystem 'xshm-serve' "serve Global\ci.service $count"
& $program answer 'Global\ci.service' $count
$client = $LASTEXITCODE
$server = Wait-Task 'xshm-serve'
if ($client -ne 0 -or $server -ne 0) { throw "the client ended with $client, the service with $server" }

# The client is a service. By default it trusts no server of another user, and says so.
$local = Start-Process -FilePath $program -ArgumentList "serve Global\ci.desktop $count" -PassThru -NoNewWindow
Start-AsSystem 'xshm-answer' "answer Global\ci.desktop $count"
$client = Wait-Task 'xshm-answer'
if (-not $local.HasExited) { $local.Kill() }
if ($client -eq 0 -or -not (Select-String -Quiet -Pattern 'Refused' -Path $log)) {
    throw "the service ended with $client; it should refuse a server of this user"
}
Write-Output 'a service and a program of this session exchange messages; a service refuses a server that it does not trust'
