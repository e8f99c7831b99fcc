# consumer
