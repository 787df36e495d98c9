@echo off
rem Run the tests and the style check, in the active Python environment if it has everything in requirements.txt,
rem otherwise in a new one in .venv (the first time, this downloads PyTorch).
cd /d "%~dp0"
set PY=python
"%PY%" tests\scoring\environment.py >nul 2>nul && goto run
set PY=.venv\Scripts\python.exe
"%PY%" tests\scoring\environment.py >nul 2>nul && goto run
echo creating an environment in .venv
python -m venv .venv || exit /b 1
"%PY%" -m pip install -qq -r requirements.txt || exit /b 1

:run
set STATUS=0
"%PY%" -m pytest %* || set STATUS=1
"%PY%" tests\scoring\style.py --max-line-length 120 . || set STATUS=1
exit /b %STATUS%
