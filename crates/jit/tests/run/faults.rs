//! Traps and interruptions: which, and where.

use palisade_core::TrapCode;

use crate::machine::Machine;

const FAULTS: &str = r#"(module
    (memory 1 2)
    (func $div (export "div") (param i64 i64) (result i64)
        (i64.div_s (local.get 0) (local.get 1)))
    (func (export "load") (param i64) (result i64)
        (i64.load offset=8 (i32.wrap_i64 (local.get 0))))
    (func (export "trunc") (param f64) (result i32) (i32.trunc_f64_s (local.get 0)))
    (func (export "outer") (param i64 i64) (result i64)
        (i64.add (call $div (local.get 0) (local.get 1)) (i64.const 1)))
    (func (export "forever") (param i64) (result i64)
        (loop $again (br $again)) (local.get 0)))"#;

#[test]
fn faults_are_traps() {
    let mut machine = Machine::new(FAULTS);
    for _ in 0..2 {
        assert_eq!(machine.call("div", &[6, 3]), Ok(vec![2]));
        assert_eq!(machine.call("div", &[6, 0]), Err(TrapCode::IntegerDivideByZero));
        assert_eq!(machine.call("div", &[1 << 63, u64::MAX]), Err(TrapCode::IntegerOverflow));
        let last = 65536 - 16;
        assert_eq!(machine.call("load", &[last]), Ok(vec![0]));
        for at in [last + 1, 65536, u64::from(u32::MAX)] {
            assert_eq!(machine.call("load", &[at]), Err(TrapCode::MemoryOutOfBounds), "{at}");
        }
        let trunc = |value: f64| value.to_bits();
        assert_eq!(machine.call("trunc", &[trunc(-7.9)]).map(|cells| cells[0] as i32), Ok(-7));
        assert_eq!(
            machine.call("trunc", &[trunc(f64::NAN)]),
            Err(TrapCode::InvalidConversionToInteger)
        );
        assert_eq!(machine.call("trunc", &[trunc(1e10)]), Err(TrapCode::IntegerOverflow));
    }
}

#[test]
fn backtraces_name_functions_and_operators() {
    let mut machine = Machine::new(FAULTS);
    machine.store.trace.clear();
    assert_eq!(machine.call("outer", &[6, 0]), Err(TrapCode::IntegerDivideByZero));
    let (frames, omitted) = machine.store.trace.take();
    assert_eq!(omitted, 0);
    let found: Vec<_> = frames
        .iter()
        .map(|frame| (frame.func.0, machine.info.bytes.whole().unwrap()[frame.offset as usize]))
        .collect();
    // i64.div_s, and call.
    assert_eq!(found, [(0, 0x7F), (3, 0x10)]);
}

#[test]
fn loops_are_interrupted() {
    let mut machine = Machine::new(FAULTS);
    let handle = machine.store.interrupt_handle();
    for _ in 0..2 {
        std::thread::scope(|scope| {
            scope.spawn(|| handle.interrupt(TrapCode::Interrupted));
            assert_eq!(machine.call("forever", &[1]), Err(TrapCode::Interrupted));
        });
        handle.clear();
        assert_eq!(machine.call("div", &[6, 3]), Ok(vec![2]));
    }
}
